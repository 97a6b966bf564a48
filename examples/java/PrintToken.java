import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import java.util.regex.Pattern;

/**
 * Prints a token of the broker, with nothing but the JDK (11 or later):
 *
 * <pre>java examples/java/PrintToken.java [BROKER [NAME [report]]]</pre>
 */
public class PrintToken {
  /** What the broker promised. The life counts from before the request was sent. */
  static final class Token {
    final String value, version;
    final long ends;

    Token(String json, long sent) {
      value = field(json, "accessToken");
      version = field(json, "version");
      ends = sent + (long) (1e9 * Double.parseDouble(field(json, "ttl").replace("s", "")));
    }
  }

  static final HttpClient HTTP = HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(3)).build();

  static Token ask(HttpRequest.Builder request, int seconds) throws IOException, InterruptedException {
    long sent = System.nanoTime();
    var answer = HTTP.send(request.timeout(Duration.ofSeconds(seconds)).build(), BodyHandlers.ofString());
    if (answer.statusCode() != 200) {
      throw new IOException(field(answer.body(), "message")); // a google.rpc.Status
    }
    return new Token(answer.body(), sent);
  }

  /** The JDK reads no JSON. A real program uses the library that it has. */
  static String field(String json, String name) {
    var found = Pattern.compile("\"" + name + "\":\\s*\"((?:[^\"\\\\]|\\\\.)*)\"").matcher(json);
    return found.find() ? found.group(1).replace("\\\"", "\"") : "";
  }

  public static void main(String[] args) throws InterruptedException {
    try {
      show(args);
    } catch (IOException e) {
      System.err.println(e.getMessage());
      System.exit(1);
    }
  }

  static void show(String[] args) throws IOException, InterruptedException {
    String broker = args.length > 0 ? args[0] : "http://127.0.0.1:7710";
    String name = args.length > 1 ? args[1] : "demo-stable";
    String url = broker + "/v1/tokens/" + name;

    Token token = ask(HttpRequest.newBuilder(URI.create(url)), 5);
    if (args.length > 2) { // WeChat answered 40001, 40014 or 42001
      var report = BodyPublishers.ofString("{\"version\":\"" + token.version + "\"}");
      token = ask(HttpRequest.newBuilder(URI.create(url + ":reportInvalid")).header("Content-Type", "application/json").POST(report), 35);
    }
    long left = (token.ends - System.nanoTime()) / 1_000_000_000;
    System.out.printf("%s, version %s, %ds left: %.8s...%n", name, token.version, left, token.value);
  }
}
