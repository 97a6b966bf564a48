"""Stands for wechatpy, as far as the code of docs/sdk/wechatpy.md touches it."""

import json as codec
import urllib.request


class Answer:
    def __init__(self, text):
        self.text = text

    def raise_for_status(self):
        pass  # urllib has done so

    def json(self):
        return codec.loads(self.text)


class HTTP:
    def get(self, url, timeout):
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            return Answer(answer.read())

    def post(self, url, json, timeout):
        request = urllib.request.Request(url, codec.dumps(json).encode(), {"Content-Type": "application/json"})
        return self.get(request, timeout)


class Session:
    def __init__(self):
        self.held = {}

    def get(self, key, default=None):
        return self.held.get(key, default)

    def set(self, key, value, ttl=None):
        self.held[key] = value


class WeChatClient:
    access_token_key = "access_token"

    def __init__(self, appid, secret):
        self.session, self.expires_at, self._http = Session(), None, HTTP()
