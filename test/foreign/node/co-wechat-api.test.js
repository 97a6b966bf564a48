'use strict';

// The real SDK, with the code that docs/sdk/co-wechat-api.md tells its users to write, against the broker and the simulated WeChat.

const { test } = require('node:test');
const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { kill, token } = require('./broker');

const { BROKER_HTTP: broker, WECHAT_URL: wechat, APP_ID: appid, CLIENT_SECRET: secret } = process.env;

// documented returns the class of a page's block of JavaScript.
function documented(page) {
  const [, code] = fs.readFileSync(path.join(__dirname, '../../../docs/sdk', page), 'utf8').match(/```js\n(.*?)```/s);
  return new Function('require', `${code}\nreturn BrokerAPI;`)(require);
}

for (const [page, name] of [['co-wechat-api.md', 'shop-called'], ['co-wechat-api.zh-CN.md', 'shop-called-zh']]) {
  test(`${page}: business calls go on when the token dies`, async () => {
    const BrokerAPI = documented(page);
    const api = new BrokerAPI(appid, '', broker, name);
    api.prefix = `${wechat}/cgi-bin/`; // business calls only
    const first = await token(name);
    assert.equal((await api.getFollowers()).count, 1);
    assert.equal((await api.ensureAccessToken()).accessToken, first.accessToken);

    await kill(first.accessToken);
    assert.equal((await api.getFollowers()).count, 1);
    const second = await token(name);
    assert.equal(second.version, first.version + 1);
    assert.equal((await api.ensureAccessToken()).accessToken, second.accessToken);
  });
}

test('the request for a token as the SDK makes it is understood', async () => {
  const API = require('co-wechat-api');
  const api = new API(appid, secret);
  api.prefix = `${broker}/cgi-bin/`;
  const got = await api.getAccessToken();
  assert.equal(got.accessToken, (await token('shop-classic')).accessToken);
  assert.ok(got.isValid());

  const wrong = new API(appid, 'wrong');
  wrong.prefix = api.prefix;
  await assert.rejects(wrong.getAccessToken(), { name: 'WeChatAPIError', code: 40125 });
});
