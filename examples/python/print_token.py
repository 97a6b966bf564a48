"""Prints a token of the broker, with nothing but the standard library:

    python3 examples/python/print_token.py [BROKER [NAME [report]]]
"""

import json
import sys
import time
import urllib.error
import urllib.request


class Token:
    """One token of a broker. Held in memory, and asked for anew when the broker said so."""

    def __init__(self, broker, name):
        self._url = f"{broker}/v1/tokens/{name}"
        self._held, self._ask_after, self.ends = None, 0, 0

    def get(self):
        if time.monotonic() >= self._ask_after:
            try:
                self._take(self._url, None, 5)
            except urllib.error.HTTPError:
                raise  # the broker says why there is none
            except OSError:
                if time.monotonic() >= self.ends:
                    raise
                self._ask_after = time.monotonic() + 1  # what is held still lives
        return self._held

    def refused(self):
        """Call this when WeChat answered 40001, 40014 or 42001, and repeat the business call with what comes back."""
        self._take(self._url + ":reportInvalid", {"version": self._held["version"]}, 35)
        return self._held

    def _take(self, url, body, timeout):
        sent = time.monotonic()  # a life counts from before the request was sent
        request = urllib.request.Request(url, body and json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            self._held = json.load(answer)["token"]
        self.ends = sent + float(self._held["ttl"].removesuffix("s"))
        self._ask_after = sent + float(self._held["refreshAfter"].removesuffix("s"))


def main(broker="http://127.0.0.1:7710", name="demo-stable", report=None):
    source = Token(broker, name)
    token = source.get()
    if report:
        token = source.refused()
    left = int(source.ends - time.monotonic())
    print(f"{token['name']}, version {token['version']}, {left}s left: {token['accessToken'][:8]}...")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except urllib.error.HTTPError as error:
        sys.exit(json.load(error)["message"])  # a google.rpc.Status
