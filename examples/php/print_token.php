<?php

// Prints a token of the broker, with the curl extension:
//
//     php examples/php/print_token.php [BROKER [NAME [report]]]
//
// A PHP process rarely lives long enough to keep a token. Let it ask each time, best of a `broker agent` on the same host, which
// answers from memory. It costs WeChat nothing.

declare(strict_types=1);

// token asks the broker, and returns its answer with "ends", on the clock of hrtime().
function token(string $url, ?array $body = null, int $timeout = 5): array
{
    $request = curl_init($url);
    curl_setopt_array($request, [CURLOPT_RETURNTRANSFER => true, CURLOPT_TIMEOUT => $timeout]);
    if ($body !== null) {
        curl_setopt($request, CURLOPT_POSTFIELDS, json_encode($body));
        curl_setopt($request, CURLOPT_HTTPHEADER, ['Content-Type: application/json']);
    }
    $sent = hrtime(true); // a life counts from before the request was sent
    $answer = curl_exec($request);
    if ($answer === false) {
        throw new RuntimeException(curl_error($request));
    }
    $answer = json_decode($answer, true, flags: JSON_THROW_ON_ERROR);
    if (curl_getinfo($request, CURLINFO_RESPONSE_CODE) !== 200) {
        throw new RuntimeException($answer['message']); // a google.rpc.Status
    }
    return $answer['token'] + ['ends' => $sent + (int) (1e9 * (float) rtrim($answer['token']['ttl'], 's'))];
}

[$broker, $name, $report] = array_slice($argv, 1) + ['http://127.0.0.1:7710', 'demo-stable', null];

try {
    $token = token("$broker/v1/tokens/$name");
    if ($report !== null) { // WeChat answered 40001, 40014 or 42001
        $token = token("$broker/v1/tokens/$name:reportInvalid", ['version' => $token['version']], 35);
    }
    $left = intdiv($token['ends'] - hrtime(true), 1_000_000_000);
    printf("%s, version %s, %ds left: %.8s...\n", $token['name'], $token['version'], $left, $token['accessToken']);
} catch (RuntimeException $e) {
    fwrite(STDERR, $e->getMessage() . "\n");
    exit(1);
}
