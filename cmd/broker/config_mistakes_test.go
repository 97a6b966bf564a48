package main

// configMistakes are configurations and all that is to be said about them. DIR stands for a folder with the files empty, blank, good
// and large.
var configMistakes = []struct {
	name           string
	text           string
	env, flags     map[string]string
	want, warnings []string
}{
	{name: "nothing at all", text: "# nothing\n", want: []string{
		"broker.yaml:1:1: etcd: it is not said where the cluster keeps its state; give endpoints of an etcd, or embedded: {data_dir: ...} for the etcd inside the broker",
		"broker.yaml:1:1: there are no tokens to keep alive; add a list of tokens, each with name and wechat",
	}},
	{name: "not YAML", text: minimal + "log: {level: [info}\n", want: []string{
		"broker.yaml:3:19: this is not YAML: did not find expected ',' or ']' while parsing a flow sequence",
	}},
	{name: "a tab", text: minimal + "log:\n\tlevel: info\n", want: []string{
		"broker.yaml:4:1: this is not YAML: found character that cannot start any token while scanning for the next token",
	}},
	{name: "an unknown anchor that is part of a secret", text: minimal + "log: {level: *5ecre7}\n", want: []string{
		"broker.yaml:3:14: this is not YAML: unknown anchor '...' referenced",
	}},
	{name: "an alias", text: minimal + "log: {level: &level info}\nhttp: {listen: *level}\n", want: []string{
		"broker.yaml:3:14: an anchor (&name) is not supported; take it out; quote the value if it starts with &",
		"broker.yaml:4:16: an alias (*name) is not supported; write the value out; quote it if it starts with *",
	}},
	{name: "a tag that is part of a secret", text: minimal + "log: {level: !5ecre7 info}\n", want: []string{
		"broker.yaml:3:14: a tag (!name) is not supported; take it out; quote the value if it starts with !",
	}},
	{name: "two documents", text: minimal + "---\nlog: {level: info}\n", want: []string{
		"broker.yaml:3:1: a second document begins here; put everything into one, without a line of ---",
	}},
	{name: "a control character", text: minimal + "log: {level: \x01}\n", want: []string{
		"broker.yaml:3:14: this is not text: a control character, or bytes that are not UTF-8; save the file as UTF-8 text",
	}},
	{name: "a list at the top", text: "- 1\n", want: []string{
		"broker.yaml:1:1: a group of fields is expected here; broker config example shows what belongs into it",
	}},
	{name: "duplicate fields", text: minimal + "log:\n  level: info\n  format: json\n  level: warn\nlog: {}\n", want: []string{
		`broker.yaml:6:3: the field "level" stands on line 4 already; keep one of them`,
		`broker.yaml:7:1: the field "log" stands on line 3 already; keep one of them`,
	}},
	{name: "a key that is no word", text: minimal + "? [a]\n: b\n", want: []string{
		"broker.yaml:3:3: a field's name must be a word; broker config example shows what there is",
	}},
	{name: "unknown fields", text: minimal + "grcp: {listen: x}\ngrpc: {listn: ':1', 5ecre7: 1}\n", want: []string{
		`broker.yaml:3:1: unknown field "grcp"; known here are audit, authentication, clients, election, etcd, gateway, grpc, http, insecure_plaintext_store, limits, log, plaintext, policy, replica, sealing, snapshot, tls and tokens`,
		`broker.yaml:4:8: grpc: unknown field "listn"; known here are listen, max_connection_age and reflection`,
		"broker.yaml:4:21: grpc: unknown field; known here are listen, max_connection_age and reflection",
	}},
	{name: "a gateway that listens nowhere", text: minimal + "gateway: {wechat: {any_mode: perhaps, mode: 1}}\n", want: []string{
		"broker.yaml:3:10: gateway.listen: this is required; write host:port, such as 127.0.0.1:7710, or take the section away",
		`broker.yaml:3:30: gateway.wechat.any_mode: "perhaps" is not possible here; write false or true`,
		`broker.yaml:3:39: gateway.wechat: unknown field "mode"; known here are any_mode`,
	}},
	{name: "clients that are all gone", text: minimal + "gateway: {listen: '127.0.0.1:7710'}\nclients:\n", want: []string{
		"broker.yaml:4:9: clients: this list is empty; list clients, or take it away; without clients, authentication and policy nobody is asked who they are",
	}},
	{name: "a list of no clients", text: minimal + "gateway: {listen: '127.0.0.1:7710'}\nclients: []\n", want: []string{
		"broker.yaml:4:10: clients: this list is empty; list clients, or take it away; without clients, authentication and policy nobody is asked who they are",
	}},
	{name: "clients of all kinds", text: minimal + "clients:\n- {}\n-\n- till\n- {name: a b, secret_sha256: 5ecre7, tokens: [Shop, 'a b']}\n" +
		"- {name: till, secret_sha256: " + someHash + ", tokens: [shop]}\n- {name: till, secret_sha256: " + someHash + ", tokens: []}\n" +
		"- {name: other, secret_sha256: " + someHash + ", tokens: ['*']}\n", want: []string{
		"broker.yaml:4:3: clients[0].name: this is required; name the client",
		"broker.yaml:4:3: clients[0].secret_sha256: this is required; broker client create prints what belongs here",
		"broker.yaml:5:2: clients[1]: this element is empty; give name, secret_sha256 and tokens, or take the dash away",
		"broker.yaml:6:3: clients[2]: a group of fields is expected here; broker config example shows what belongs into it",
		`broker.yaml:7:10: clients[3].name: "a b" cannot be a client's name; write letters, digits, '.', '_' and '-'`,
		"broker.yaml:7:30: clients[3].secret_sha256: this is not a SHA-256 in 64 hexadecimal digits; broker client create prints what belongs here",
		`broker.yaml:7:47: clients[3].tokens[0]: "Shop" is neither a token's name nor a pattern; write a name, or "*" for any characters: "shop-*"`,
		`broker.yaml:7:53: clients[3].tokens[1]: "a b" is neither a token's name nor a pattern; write a name, or "*" for any characters: "shop-*"`,
		`broker.yaml:9:3: clients[5]: the client may have no tokens; list their names, or patterns such as "shop-*"`,
		`broker.yaml:9:10: clients[5].name: "till" is also the name of the client on line 8; give each client a name of its own`,
		"broker.yaml:9:31: clients[5].secret_sha256: the client on line 8 has the same secret; broker client create makes a secret for each",
		"broker.yaml:10:32: clients[6].secret_sha256: the client on line 8 has the same secret; broker client create makes a secret for each",
	}, warnings: []string{
		"broker.yaml:4:1: clients: there is no gateway at which clients could ask; set gateway.listen",
	}},
	{name: "a client of a token that there is not", text: minimal + "gateway: {listen: '127.0.0.1:7710'}\nclients:\n" +
		"- {name: till, secret_sha256: " + someHash + ", tokens: [shop, shpo, 'shpo-*']}\n", warnings: []string{
		`broker.yaml:5:112: clients[0].tokens[1]: no token is called "shpo"; compare it with the names under tokens`,
	}},
	{name: "a snapshot without a file", text: minimal + "snapshot: {}\n", want: []string{
		"broker.yaml:3:11: snapshot.file: this is required; name a file, such as /var/lib/tokenbroker/snapshot.json, or take the section away",
	}},
	{name: "a snapshot of another kind", text: minimal + "snapshot: /var/lib/tokenbroker/snapshot.json\n", want: []string{
		"broker.yaml:3:11: snapshot: a group of fields is expected here; broker config example shows what belongs into it",
	}},
	{name: "a snapshot with a relative path", text: minimal + "snapshot: {file: snapshot.json, every: 1s}\n", want: []string{
		`broker.yaml:3:18: snapshot.file: "snapshot.json" is a relative path; write it from the root on, such as /var/lib/tokenbroker/snapshot.json`,
		`broker.yaml:3:33: snapshot: unknown field "every"; known here are file`,
	}},
	{name: "a snapshot in a folder that does not exist", text: minimal + "snapshot: {file: /does/not/exist/s.json}\n", want: []string{
		`broker.yaml:3:18: snapshot.file: the folder "/does/not/exist" does not exist; make it, for the user that the broker runs as: mode 0700`,
	}},
	{name: "a snapshot below a file", text: minimal + "snapshot: {file: /dev/null/s.json}\n", want: []string{
		`broker.yaml:3:18: snapshot.file: "/dev/null" is no folder; name a file in a folder`,
	}},
	{name: "a snapshot that is a folder", text: minimal + "snapshot: {file: /does/}\n", want: []string{
		`broker.yaml:3:18: snapshot.file: "/does/" names a folder; write the name of a file after it`,
	}},
	{name: "an audit log without a place", text: minimal + "audit: {when_full: refuse}\n", want: []string{
		"broker.yaml:3:8: audit: there is no place for the audit log; name a file, such as /var/log/tokenbroker/audit.log, or set stdout: true, or take the section away",
	}},
	{name: "an audit log where nobody is asked", text: minimal + "audit: {stdout: true}\n", want: []string{
		"broker.yaml:3:8: audit: nothing is recorded of callers who are not asked who they are; add authentication and policy, or take audit away",
	}},
	{name: "an audit log with two places", text: minimal + "audit: {file: audit.log, stdout: true, when_full: panic}\n" + anyone, want: []string{
		"broker.yaml:3:34: audit.stdout: the audit log has one place; take audit.file or audit.stdout away",
		`broker.yaml:3:51: audit.when_full: "panic" is not possible here; write continue or refuse`,
	}},
	{name: "an audit log with a relative path", text: minimal + "audit: {file: audit.log, every: 1s}\n" + anyone, want: []string{
		`broker.yaml:3:15: audit.file: "audit.log" is a relative path; write it from the root on, such as /var/log/tokenbroker/audit.log`,
		`broker.yaml:3:26: audit: unknown field "every"; known here are file, stdout and when_full`,
	}},
	{name: "an audit log that is a folder", text: minimal + "audit: {file: /does/}\n" + anyone, want: []string{
		`broker.yaml:3:15: audit.file: "/does/" names a folder; write the name of a file after it`,
	}},
	{name: "an audit log in a folder that does not exist", text: minimal + "audit: {file: /does/not/exist/a.log}\n" + anyone, want: []string{
		`broker.yaml:3:15: audit.file: the folder "/does/not/exist" does not exist; make it, for the user that the broker runs as: mode 0700`,
	}},
	{name: "limits that leave nothing", text: minimal + "limits: {rate: 0, burst: many, streams: -1, connections: 0}\n", want: []string{
		"broker.yaml:3:16: limits.rate: 0 is too small; write at least 1",
		`broker.yaml:3:26: limits.burst: "many" is not a whole number; write a number such as 200`,
		"broker.yaml:3:41: limits.streams: -1 is too small; write at least 1",
		"broker.yaml:3:58: limits.connections: 0 is too small; write at least 1",
	}},
	{name: "wrong kinds", text: minimal + "grpc: 7\nlog: {level: [info]}\nhttp: {listen: {port: 1}}\n", want: []string{
		"broker.yaml:3:7: grpc: a group of fields is expected here; broker config example shows what belongs into it",
		"broker.yaml:4:14: log.level: a single value is expected here; write one value, without a list or fields under it",
		"broker.yaml:5:16: http.listen: a single value is expected here; write one value, without a list or fields under it",
	}},
	{name: "wrong words", text: minimal + "grpc: {reflection: yes}\nlog: {level: loud, format: xml}\n", want: []string{
		`broker.yaml:3:20: grpc.reflection: "yes" is not possible here; write false or true`,
		`broker.yaml:4:14: log.level: "loud" is not possible here; write debug, info, warn or error`,
		`broker.yaml:4:28: log.format: "xml" is not possible here; write text or json`,
	}},
	{name: "wrong addresses", text: minimal + "grpc: {listen: '7700'}\nhttp: {listen: 'host:http'}\nreplica: {advertise: ':7700', id: 'a b'}\n", want: []string{
		`broker.yaml:3:16: grpc.listen: "7700" is not host:port; write, for instance, 127.0.0.1:7700 or broker-1:7700`,
		`broker.yaml:4:16: http.listen: "host:http" is not host:port; write, for instance, 127.0.0.1:7700 or broker-1:7700`,
		`broker.yaml:5:22: replica.advertise: ":7700" cannot be reached from elsewhere; write the host and port at which others reach this replica`,
		`broker.yaml:5:35: replica.id: "a b" cannot be a replica's id; write letters, digits, '.', '_' and '-'`,
	}},
	{name: "wrong durations", text: minimal + "grpc: {max_connection_age: 30}\nelection: {session_ttl: 1s}\n", want: []string{
		`broker.yaml:3:28: grpc.max_connection_age: "30" is not a duration; write a number with a unit, such as 30s, 9h or 1h30m`,
		"broker.yaml:4:25: election.session_ttl: 1s is too short; write at least 2s",
	}},
	{name: "half a second", text: minimal + "election: {session_ttl: 2500ms}\n", want: []string{
		"broker.yaml:3:25: election.session_ttl: 2.5s is not a whole number of seconds; etcd counts in seconds: write 5s, for instance",
	}},
	{name: "too long a session", text: minimal + "election: {session_ttl: 2m}\n", want: []string{
		"broker.yaml:3:25: election.session_ttl: 2m is too long; write at most 1m",
	}},
	{name: "plaintext for others than this machine", text: minimal + "grpc: {listen: ':7700'}\nhttp: {listen: 'broker-1:7780'}\ngateway: {listen: '[fe80::1]:7710'}\n", want: []string{
		"broker.yaml:3:16: grpc.listen: this is not a loopback address, and calls are not encrypted (plaintext); use tls, or a loopback address such as 127.0.0.1:7700",
		"broker.yaml:4:16: http.listen: this is not a loopback address, and calls are not encrypted (plaintext); use tls, or a loopback address such as 127.0.0.1:7700",
		"broker.yaml:5:19: gateway.listen: this is not a loopback address, and calls are not encrypted (plaintext); use tls, or a loopback address such as 127.0.0.1:7700",
	}},
	{name: "plaintext that nobody asked for", text: minimal, env: map[string]string{"TOKENBROKER_PLAINTEXT": ""}, want: []string{
		"broker.yaml:1:1: it is not said how calls are protected; add tls: {cert_file: ..., key_file: ...}, or plaintext: true if every address to listen on is on loopback",
	}},
	{name: "tls and plaintext", text: minimal + "plaintext: true\ntls: {client_certificates: sometimes}\n", env: map[string]string{"TOKENBROKER_PLAINTEXT": ""}, want: []string{
		"broker.yaml:4:6: tls: a server needs a certificate; give cert_file and key_file, or take tls away and write plaintext: true",
		"broker.yaml:4:6: tls: both tls and plaintext are given; keep one of them",
		`broker.yaml:4:28: tls.client_certificates: "sometimes" is not possible here; write optional or required`,
	}},
	{name: "certificates that cannot be used", text: minimal + "tls:\n  cert_file: DIR/none\n  key_file: DIR/none\n  client_ca_file: DIR/good\n", env: map[string]string{"TOKENBROKER_PLAINTEXT": ""}, want: []string{
		"broker.yaml:4:14: tls.cert_file: certificate and key cannot be used: one of the files does not exist; let cert_file and key_file hold a matching pair in PEM form",
		"broker.yaml:6:19: tls.client_ca_file: the file named here holds no certificate; let it hold the authorities' certificates in PEM form",
	}},
	{name: "required certificates that nobody issues", text: minimal + "tls:\n  cert_file: DIR/good\n  client_certificates: required\n", env: map[string]string{"TOKENBROKER_PLAINTEXT": ""}, want: []string{
		"broker.yaml:4:3: tls: cert_file and key_file belong together; give both or neither",
		"broker.yaml:5:24: tls.client_certificates: callers' certificates are verified with authorities, and there are none; name them in client_ca_file",
	}},
	{name: "wrong environment", text: minimal, env: map[string]string{
		"TOKENBROKER_LOG_LEVEL": "loud", "TOKENBROKER_LOG_LEVL": "5ecre7", "TOKENBROKER_SERVICE_HOST": "1", "TOKENBROKER_PORT_7700_TCP": "1",
		"TOKENBROKER_SERVER": "a:1"}, want: []string{
		`environment TOKENBROKER_LOG_LEVEL: log.level: "loud" is not possible here; write debug, info, warn or error`,
	}, warnings: []string{
		"environment TOKENBROKER_LOG_LEVL: no setting has this name; take it away, or see broker config example for the right one",
	}},
	{name: "wrong flag", text: minimal, flags: map[string]string{"log.level": "loud"}, env: map[string]string{"TOKENBROKER_LOG_LEVEL": "quiet"}, want: []string{
		`flag --log-level: log.level: "loud" is not possible here; write debug, info, warn or error`,
	}},
	{name: "tokens in the environment", text: "etcd: {endpoints: ['http://127.0.0.1:2379']}\n", env: map[string]string{"TOKENBROKER_TOKENS": "5ecre7"}, want: []string{
		"environment TOKENBROKER_TOKENS: tokens: tokens cannot be given outside the file; write them into the file",
	}},

	{name: "no etcd", text: "tokens: [{name: shop, wechat: {appid: wx1, secret: {env: SHOP}}}]\netcd: {namespace: x}\n", want: []string{
		"broker.yaml:2:7: etcd: it is not said where the cluster keeps its state; give endpoints of an etcd, or embedded: {data_dir: ...} for the etcd inside the broker",
		`broker.yaml:2:19: etcd.namespace: "x" cannot be the prefix of the keys; write a path between two slashes, such as /tokenbroker/`,
	}},
	{name: "two etcds", text: "tokens: [{name: shop, wechat: {appid: wx1, secret: {env: SHOP}}}]\netcd:\n  endpoints: ['http://127.0.0.1:2379']\n  embedded: {data_dir: x}\n", want: []string{
		"broker.yaml:3:3: etcd: both endpoints and embedded are given; keep one of them: an etcd of your own, or the one inside the broker",
	}},
	{name: "etcd's access", text: `tokens: [{name: shop, wechat: {appid: wx1, secret: {env: SHOP}}}]
etcd:
  endpoints: ["https://10.0.0.1:2379", "http://10.0.0.2:2379", "https://u:5ecre7@10.0.0.3", 10.0.0.4:2379, "https://10.0.0.5/x?y"]
  tls:
    ca_file: DIR/good
    cert_file: DIR/good
    key_file: DIR/none
  username: broker
  password: 5ecre7
`, want: []string{
		"broker.yaml:3:14: etcd.endpoints: some endpoints are http and some https; use the same for all",
		"broker.yaml:3:64: etcd.endpoints[2]: user name and password do not belong into a URL; take them out",
		"broker.yaml:3:93: etcd.endpoints[3]: this is not an http or https URL; write, for instance, https://10.0.0.1:2379",
		"broker.yaml:3:108: etcd.endpoints[4]: the URL must end before ? and #; take the rest away",
		"broker.yaml:5:14: etcd.tls.ca_file: the file named here holds no certificate; let it hold the authorities' certificates in PEM form",
		"broker.yaml:6:16: etcd.tls.cert_file: certificate and key cannot be used: one of the files does not exist; let cert_file and key_file hold a matching pair in PEM form",
		"broker.yaml:9:13: etcd.password: the password must not stand in this file; put it into a file or an environment variable, and write {file: PATH} or {env: NAME}",
	}},
	{name: "etcd without protection", text: `tokens: [{name: shop, wechat: {appid: wx1, secret: {env: SHOP}}}]
etcd:
  endpoints: ["http://10.0.0.1:2379"]
  tls: {cert_file: DIR/good}
  password: {file: DIR/good}
`, want: []string{
		"broker.yaml:3:3: etcd: there is a password without a username; give both or neither",
		"broker.yaml:4:8: etcd.tls: cert_file and key_file belong together; give both or neither",
		"broker.yaml:4:8: etcd.tls: TLS is of no use without https endpoints; write https:// before the endpoints, or take tls away",
	}, warnings: []string{
		"broker.yaml:3:14: etcd.endpoints: tokens travel to etcd unencrypted; use https and tls",
	}},
	{name: "no endpoint", text: "tokens: [{name: shop, wechat: {appid: wx1, secret: {env: SHOP}}}]\netcd: {endpoints: []}\n", want: []string{
		"broker.yaml:2:19: etcd.endpoints: there is no endpoint; write at least one, such as https://10.0.0.1:2379",
	}},
	{name: "embedded etcd", text: `tokens: [{name: shop, wechat: {appid: wx1, secret: {env: SHOP}}}]
etcd:
  embedded:
    listen_client: "https://0.0.0.0:2379"
    listen_peer: "https://10.0.0.1:2380"
    initial_cluster: {a: "https://10.0.0.1:2380", b: "ftp://10.0.0.2:2380"}
    initial_cluster_state: old
`, want: []string{
		"broker.yaml:4:5: etcd.embedded.data_dir: this is required; name a folder that only this replica uses",
		"broker.yaml:4:20: etcd.embedded.listen_client: the embedded etcd serves clients by http only; write http:// and a loopback address",
		"broker.yaml:5:18: etcd.embedded.listen_peer: https needs a certificate; add peer_tls: with cert_file, key_file and ca_file",
		`broker.yaml:6:22: etcd.embedded.initial_cluster: this member, "host-1", is not among the members; add it, or set name to one of them`,
		"broker.yaml:6:54: etcd.embedded.initial_cluster.b: this is not an http or https URL; write, for instance, https://10.0.0.1:2379",
		`broker.yaml:7:28: etcd.embedded.initial_cluster_state: "old" is not possible here; write new or existing`,
	}},
	{name: "embedded etcd, open", text: `tokens: [{name: shop, wechat: {appid: wx1, secret: {env: SHOP}}}]
etcd:
  embedded:
    data_dir: x
    name: a
    listen_client: "http://0.0.0.0:2379"
    listen_peer: "http://10.0.0.1:2380"
    peer_tls: {ca_file: DIR/none}
    initial_cluster: "a=http://10.0.0.2:2380,b=http://10.0.0.3:2380"
`, want: []string{
		"broker.yaml:8:15: etcd.embedded.peer_tls: peer_tls is of no use without https; write https:// in listen_peer and advertise_peer",
		"broker.yaml:8:25: etcd.embedded.peer_tls.ca_file: the file named here does not exist; let it hold the authorities' certificates in PEM form",
		"broker.yaml:9:22: etcd.embedded.initial_cluster: the URL of this member differs from advertise_peer; write the same in both",
	}, warnings: []string{
		"broker.yaml:6:20: etcd.embedded.listen_client: whoever reaches this address can read and write every token; use a loopback address",
	}},

	{name: "embedded etcd on a name", text: `tokens: [{name: shop, wechat: {appid: wx1, secret: {env: SHOP}}}]
etcd: {embedded: {data_dir: x, name: a, listen_peer: "http://broker-1:2380", initial_cluster: {a: "http://127.0.0.1:2380"}}}
`, want: []string{
		"broker.yaml:2:54: etcd.embedded.listen_peer: etcd listens on an address, not on a name; write an IP address or localhost, and the name into advertise_peer",
	}},

	{name: "no tokens", text: "etcd: {endpoints: ['http://127.0.0.1:2379']}\ntokens: []\n", want: []string{
		"broker.yaml:1:1: there are no tokens to keep alive; add a list of tokens, each with name and wechat",
	}},
	{name: "tokens are no list", text: "etcd: {endpoints: ['http://127.0.0.1:2379']}\ntokens: {shop: {}}\n", want: []string{
		"broker.yaml:2:9: tokens: a list is expected here; write each element on a line of its own, after a dash: - ...",
	}},
	{name: "names", text: `etcd: {endpoints: ["http://127.0.0.1:2379"]}
tokens:
  - name: Shop
    wechat: {appid: wx1, secret: {env: SHOP}}
  - name: shop
    wechat: {appid: wx2, secret: {env: SHOP}}
  - name: shop
    wechat: {appid: wx3, secret: {env: SHOP}}
  - wechat: {appid: wx4, secret: {env: SHOP}}
  -
  - name: last
`, want: []string{
		"broker.yaml:3:11: tokens[0].name: bad token name: 'S' at position 1; allowed are a-z, 0-9, '.', '_' and '-'",
		`broker.yaml:7:11: tokens[2].name: "shop" is also the name of the token on line 5; give each token a name of its own`,
		"broker.yaml:9:5: tokens[3].name: this is required; give a name, by which callers ask for the token",
		"broker.yaml:10:4: tokens[4]: this element is empty; give name and wechat, or take the dash away",
		"broker.yaml:11:5: tokens[5]: the token's upstream is missing; add wechat: with appid and secret",
	}},
	{name: "the same account", text: `etcd: {endpoints: ["http://127.0.0.1:2379"]}
tokens:
  - name: a
    wechat: {appid: wx1, secret: {env: SHOP}}
  - name: b
    wechat: {appid: wx1, mode: classic, secret: {env: SHOP}}
  - name: c
    wechat: {appid: wx1, mode: classic, base_url: "https://proxy.example.com/wx", secret: {env: SHOP}}
  - name: d
    wechat: {appid: wx1, mode: stable, secret: {env: SHOP}}
`, want: []string{
		"broker.yaml:10:21: tokens[3].wechat.appid: the token on line 3 is of the same account and mode; keep one of the two: WeChat has one token for both",
	}},
	{name: "secrets", text: `etcd: {endpoints: ["http://127.0.0.1:2379"]}
tokens:
  - {name: a, wechat: {appid: wx1, secret: 5ecre7-5ecre7}}
  - {name: b, wechat: {appid: wx2, secret: {}}}
  - {name: c, wechat: {appid: wx3}}
  - {name: d, wechat: {appid: wx4, secret: {env: SHOP, file: DIR/good}}}
  - {name: e, wechat: {appid: wx5, secret: {env: 5ecre7}}}
  - {name: f, wechat: {appid: wx6, secret: {file: /5ecre7}}}
  - {name: g, wechat: {appid: wx7, secret: {5ecre7: }}}
  - {name: h, wechat: {appid: wx8, secret: {file: DIR}}}
  - {name: i, wechat: {appid: wx9, secret: {file: DIR/empty}}}
  - {name: j, wechat: {appid: wx10, secret: {file: DIR/blank}}}
  - {name: k, wechat: {appid: wx11, secret: {file: DIR/large}}}
  - {name: l, wechat: {appid: wx12, secret: {env: [SHOP]}}}
  - {name: m, wechat: {appid: wx13, secret: {value: 5ecre7}}}
`, want: []string{
		"broker.yaml:3:44: tokens[0].wechat.secret: the AppSecret must not stand in this file; put it into a file or an environment variable, and write {file: PATH} or {env: NAME}",
		"broker.yaml:4:44: tokens[1].wechat.secret: the AppSecret is missing; say where it is: {file: PATH} or {env: NAME}",
		"broker.yaml:5:23: tokens[2].wechat.secret: the AppSecret is missing; say where it is: {file: PATH} or {env: NAME}",
		"broker.yaml:6:44: tokens[3].wechat.secret: both file and env are given; keep one of them",
		"broker.yaml:7:50: tokens[4].wechat.secret.env: the environment variable named here is not set; set it, or use file instead",
		"broker.yaml:8:51: tokens[5].wechat.secret.file: the file named here does not exist; let it hold the secret, and nothing else",
		"broker.yaml:9:44: tokens[6].wechat.secret: the AppSecret is missing; say where it is: {file: PATH} or {env: NAME}",
		"broker.yaml:9:45: tokens[6].wechat.secret: unknown field; known here are env and file",
		"broker.yaml:10:51: tokens[7].wechat.secret.file: the file named here is a folder; let it hold the secret, and nothing else",
		"broker.yaml:11:51: tokens[8].wechat.secret.file: the file named here is empty; let it hold the secret",
		"broker.yaml:12:52: tokens[9].wechat.secret.file: the file named here holds something else than printable ASCII; let it hold the secret, and nothing else",
		"broker.yaml:13:52: tokens[10].wechat.secret.file: the file named here is too large; let it hold the secret, and nothing else",
		"broker.yaml:14:51: tokens[11].wechat.secret.env: a single value is expected here; write one value, without a list or fields under it",
		"broker.yaml:15:45: tokens[12].wechat.secret: the AppSecret is missing; say where it is: {file: PATH} or {env: NAME}",
		`broker.yaml:15:46: tokens[12].wechat.secret: unknown field "value"; known here are env and file`,
	}},
	{name: "WeChat", text: `etcd: {endpoints: ["http://127.0.0.1:2379"]}
tokens:
  - name: a
    wechat: {mode: forced, appid: "wx 1", overlap: 1m, max_life: 1s, secret: {env: SHOP}}
  - name: b
    wechat: {base_url: "http://proxy.example.com", secret: {env: SHOP}, appid: }
`, want: []string{
		`broker.yaml:4:20: tokens[0].wechat.mode: "forced" is not possible here; write stable or classic`,
		"broker.yaml:4:35: tokens[0].wechat.appid: this is not an AppID; write the AppID that WeChat's console shows, such as wx0123456789abcdef",
		"broker.yaml:4:52: tokens[0].wechat.overlap: WeChat's own is fixed; take this away: it describes simulators, together with base_url",
		"broker.yaml:4:66: tokens[0].wechat.max_life: 1s is too short; write at least 10s",
		"broker.yaml:4:66: tokens[0].wechat.max_life: WeChat's own is fixed; take this away: it describes simulators, together with base_url",
		"broker.yaml:6:80: tokens[1].wechat.appid: this is required; write the AppID that WeChat's console shows",
	}, warnings: []string{
		"broker.yaml:6:24: tokens[1].wechat.base_url: the AppSecret and the tokens travel unencrypted; use https",
	}},
	{name: "a simulated WeChat", text: `etcd: {endpoints: ["http://127.0.0.1:2379"]}
tokens:
  - name: a
    wechat: {base_url: "http://127.0.0.1:8080", max_life: 1m, overlap: 16s, appid: wx1, secret: {env: SHOP}}
  - name: b
    wechat: {base_url: "http://127.0.0.1:8080", max_life: 3h, overlap: 6m, appid: wx2, secret: {env: UMLAUT}}
`, env: map[string]string{"UMLAUT": "5ecre7\u00e4"}, want: []string{
		"broker.yaml:4:72: tokens[0].wechat.overlap: an overlap of 16s is not positive and at most a quarter of the longest life 1m0s; shorten the overlap, or leave it out",
		"broker.yaml:6:59: tokens[1].wechat.max_life: 3h is too long; write at most 2h",
		"broker.yaml:6:72: tokens[1].wechat.overlap: 6m is too long; write at most 5m",
		"broker.yaml:6:102: tokens[1].wechat.secret.env: the environment variable named here holds something else than printable ASCII; let it hold the secret, and nothing else",
	}},
	{name: "refresh ahead", text: `etcd: {endpoints: ["http://127.0.0.1:2379"]}
tokens:
  - {name: a, ahead: 9m, wechat: {mode: classic, appid: wx1, secret: {env: SHOP}}}
  - {name: b, ahead: 8m59s, wechat: {mode: classic, appid: wx2, secret: {env: SHOP}}}
  - {name: c, ahead: 2h, wechat: {mode: classic, appid: wx3, secret: {env: SHOP}}}
  - {name: d, ahead: 6m, wechat: {appid: wx4, secret: {env: SHOP}}}
  - {name: e, ahead: 10s, wechat: {mode: classic, base_url: "http://127.0.0.1:1", overlap: 10s, max_life: 1m, appid: wx5, secret: {env: SHOP}}}
`, want: []string{
		"broker.yaml:4:22: tokens[1].ahead: 8m59s is too short: a fetch whose answer is lost must be repeated in time; write at least 9m",
		"broker.yaml:5:22: tokens[2].ahead: 2h is not less than a token's life, 2h; write less",
		"broker.yaml:7:22: tokens[4].ahead: 10s is too short: a fetch whose answer is lost must be repeated in time; write at least 18s",
	}, warnings: []string{
		"broker.yaml:6:22: tokens[3].ahead: before its last 5m WeChat answers with the same token; leave it out, or write at most that",
	}},
	{name: "budgets", text: `etcd: {endpoints: ["http://127.0.0.1:2379"]}
tokens:
  - {name: a, daily_budget: 100, reserve: 100, wechat: {appid: wx1, secret: {env: SHOP}}}
  - {name: b, daily_budget: 0, reserve: 2e3, wechat: {appid: wx2, secret: {env: SHOP}}}
  - {name: c, daily_budget: 2001, wechat: {mode: classic, appid: wx3, secret: {env: SHOP}}}
  - {name: d, reserve: 5000, wechat: {mode: classic, appid: wx4, secret: {env: SHOP}}}
`, want: []string{
		"broker.yaml:3:43: tokens[0].reserve: 100 is not less than the daily budget, 100; leave a part of the budget for the schedule",
		"broker.yaml:4:29: tokens[1].daily_budget: 0 is too small; write at least 1",
		`broker.yaml:4:41: tokens[1].reserve: "2e3" is not a whole number; write a number such as 200`,
		"broker.yaml:6:24: tokens[3].reserve: 5000 is not less than the daily budget, 2000; leave a part of the budget for the schedule",
	}, warnings: []string{
		"broker.yaml:5:29: tokens[2].daily_budget: WeChat allows 2000 fetches a day; write at most that",
	}},
	{name: "schedules", text: `etcd: {endpoints: ["http://127.0.0.1:2379"]}
tokens:
  - name: a
    wechat: {mode: classic, appid: wx1, secret: {env: SHOP}}
    daily_budget: 100
    refresh:
      - every: 9
      - every: 500ms
      - {every: 9h, cron: "0 0 2 * * *"}
      - {every: 9h, time_zone: UTC}
      - cron: "0 2 * * *"
      - cron: "0 */110 2 * * *"
      - cron: "0 0 2 30 2 *"
      - {cron: "0 0 2 * * *", time_zone: Mars/Olympus}
      - cron: "TZ=UTC 0 2 * * *"
      - {}
      -
      - {time_zone: UTC}
      - nonsense
      - every: 15m
`, want: []string{
		`broker.yaml:7:16: tokens[0].refresh[0].every: "9" is not a duration; write a number with a unit, such as 30s, 9h or 1h30m`,
		"broker.yaml:8:16: tokens[0].refresh[1].every: 500ms is too short; write at least 1s",
		"broker.yaml:9:9: tokens[0].refresh[2]: both every and cron are given; make two elements of it: the earliest wins",
		"broker.yaml:10:32: tokens[0].refresh[3].time_zone: an interval has no time zone; take it away",
		`broker.yaml:11:15: tokens[0].refresh[4].cron: "0 2 * * *" has not the six fields: second, minute, hour, day, month, weekday; write, for instance, "0 30 2 * * *" for half past two`,
		`broker.yaml:12:15: tokens[0].refresh[5].cron: "0 */110 2 * * *" cannot be understood: step (110) must be less than range size (60): "*/110"; the fields are second, minute, hour, day, month, weekday`,
		`broker.yaml:13:15: tokens[0].refresh[6].cron: "0 0 2 30 2 *" names a moment that never comes; does the day occur in that month?`,
		`broker.yaml:14:42: tokens[0].refresh[7].time_zone: "Mars/Olympus" is not a time zone; write a name of the IANA database, such as Asia/Shanghai or UTC`,
		`broker.yaml:15:15: tokens[0].refresh[8].cron: "TZ=UTC 0 2 * * *" has not the six fields: second, minute, hour, day, month, weekday; write, for instance, "0 30 2 * * *" for half past two`,
		`broker.yaml:16:9: tokens[0].refresh[9]: this element says nothing; write every: 1h, or cron: "0 30 2 * * *"`,
		`broker.yaml:17:8: tokens[0].refresh[10]: this element says nothing; write every: 1h, or cron: "0 30 2 * * *"`,
		`broker.yaml:18:9: tokens[0].refresh[11]: neither every nor cron is given; write every: 1h, or cron: "0 30 2 * * *"`,
		"broker.yaml:19:9: tokens[0].refresh[12]: a group of fields is expected here; broker config example shows what belongs into it",
	}, warnings: []string{
		"broker.yaml:20:16: tokens[0].refresh[13].every: 96 fetches a day are more than the daily budget less its reserve, 90; write a longer interval",
	}},
	{name: "rules that can do nothing", text: `etcd: {endpoints: ["http://127.0.0.1:2379"]}
tokens:
  - name: a
    wechat: {mode: classic, appid: wx1, secret: {env: SHOP}}
    ahead: 20m
    refresh: [{every: 9h}, {every: 100m}, {every: 99m}, {cron: "0 0 2 * * *"}]
  - name: b
    wechat: {appid: wx2, secret: {env: SHOP}}
    refresh: [{every: 9h}, {every: 1h}, {cron: "0 0 2 * * *"}]
`, warnings: []string{
		"broker.yaml:6:23: tokens[0].refresh[0].every: it is never the earliest: the next fetch is due 1h40m after the last, ahead of the token's end; take it away, or write less",
		"broker.yaml:6:36: tokens[0].refresh[1].every: it is never the earliest: the next fetch is due 1h40m after the last, ahead of the token's end; take it away, or write less",
		"broker.yaml:9:23: tokens[1].refresh[0].every: it is never the earliest: the next fetch is due 1h55m30s after the last, ahead of the token's end; take it away, or write less",
		"broker.yaml:9:36: tokens[1].refresh[1].every: before a token's last 5m WeChat's stable endpoint answers with the same one: this spends budget and changes nothing; take it away; rules are for mode: classic",
		"broker.yaml:9:48: tokens[1].refresh[2].cron: before a token's last 5m WeChat's stable endpoint answers with the same one: this spends budget and changes nothing; take it away; rules are for mode: classic",
	}},
	{name: "questions whether a token lives", text: `etcd: {endpoints: ["http://127.0.0.1:2379"]}
tokens:
  - {name: a, verify: {every: 9s}, wechat: {appid: wx1, secret: {env: SHOP}}}
  - {name: b, verify: {every: 61m}, wechat: {appid: wx2, secret: {env: SHOP}}}
  - {name: c, verify: {}, wechat: {appid: wx3, secret: {env: SHOP}}}
  - {name: d, verify: 60s, wechat: {appid: wx4, secret: {env: SHOP}}}
  - {name: e, verify: {every: 43s}, wechat: {appid: wx5, secret: {env: SHOP}}}
  - {name: f, verify: {every: 60s}, wechat: {appid: wx6, secret: {env: SHOP}}}
`, want: []string{
		"broker.yaml:3:31: tokens[0].verify.every: 9s is too short; write at least 10s",
		"broker.yaml:4:31: tokens[1].verify.every: 1h1m is too long; write at most 1h",
		"broker.yaml:5:23: tokens[2].verify: it is not said how often; write every: 60s",
		"broker.yaml:6:23: tokens[3].verify: a group of fields is expected here; broker config example shows what belongs into it",
	}, warnings: []string{
		"broker.yaml:7:31: tokens[4].verify.every: 2009 questions a day are more than the 2000 calls of one kind that an account may count on; write a longer interval, such as 60s",
	}},
}
