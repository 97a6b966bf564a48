package main

import (
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// defaultNamespace is the prefix of every key.
const defaultNamespace = "/tokenbroker/"

// etcd reads where the cluster keeps its state. id is the replica's. Neither way is the default: three replicas that each quietly
// started an etcd of their own would be three leaders, and on a rotating upstream end each other's tokens.
func (s *section) etcd(id string) etcdConfig {
	var c etcdConfig
	endpoints := s.get("endpoints")
	for _, item := range endpoints.items() {
		if u := item.baseURL("", false); u != "" {
			c.Endpoints = append(c.Endpoints, u)
		}
	}
	embedded := s.section("embedded")
	switch {
	case endpoints.given && embedded.present:
		s.fail("both endpoints and embedded are given", "keep one of them: an etcd of your own, or the one inside the broker")
	case !endpoints.given && !embedded.present:
		s.fail("it is not said where the cluster keeps its state",
			"give endpoints of an etcd, or embedded: {data_dir: ...} for the etcd inside the broker")
	case endpoints.given && len(c.Endpoints) == 0:
		endpoints.fail("there is no endpoint", "write at least one, such as https://10.0.0.1:2379")
	}
	s.access(&c, endpoints)
	if embedded.present {
		c.Embedded = embedded.embedded(id)
		c.Endpoints = nil
	}
	namespace := s.get("namespace")
	c.Namespace = namespace.str(defaultNamespace)
	if !strings.HasPrefix(c.Namespace, "/") || !strings.HasSuffix(c.Namespace, "/") || strings.Contains(c.Namespace, "//") || len(c.Namespace) < 3 {
		namespace.fail(quote(c.Namespace)+" cannot be the prefix of the keys", "write a path between two slashes, such as "+defaultNamespace)
	}
	s.end()
	return c
}

// access reads how to be let in by an etcd at endpoints.
func (s *section) access(c *etcdConfig, endpoints value) {
	secure := strings.HasPrefix(strings.Join(c.Endpoints, " "), "https://")
	for _, e := range c.Endpoints {
		if strings.HasPrefix(e, "https://") != secure {
			endpoints.fail("some endpoints are http and some https", "use the same for all")
			break
		}
	}
	if !secure && slices.ContainsFunc(c.Endpoints, func(e string) bool { return !loopbackURL(e) }) {
		endpoints.warn("tokens travel to etcd unencrypted", "use https and tls")
	}
	tls := s.section("tls")
	c.TLS = tls.tls()
	if tls.present && !secure {
		tls.fail("TLS is of no use without https endpoints", "write https:// before the endpoints, or take tls away")
	}
	tls.end()
	c.Username = s.get("username").str("")
	var from string
	if c.Password, from = s.secret("password", "password", c.Username == ""); c.Username == "" && from != "" {
		s.fail("there is a password without a username", "give both or neither")
	}
}

// embedded reads how the etcd server inside the process runs. It serves clients by http only, and so wants a loopback address: this
// replica is its only client, besides etcdctl.
func (s *section) embedded(id string) *embeddedConfig {
	c := &embeddedConfig{}
	c.DataDir = s.get("data_dir").required("name a folder that only this replica uses")
	c.Name = s.get("name").str(id)
	client := s.get("listen_client")
	c.ListenClient = client.listenURL("http://127.0.0.1:2379")
	if strings.HasPrefix(c.ListenClient, "https:") {
		client.fail("the embedded etcd serves clients by http only", "write http:// and a loopback address")
	} else if !loopbackURL(c.ListenClient) {
		client.warn("whoever reaches this address can read and write every token", "use a loopback address")
	}
	peer := s.get("listen_peer")
	c.ListenPeer = peer.listenURL("http://127.0.0.1:2380")
	c.AdvertisePeer = s.get("advertise_peer").baseURL(c.ListenPeer, false)
	peerTLS := s.section("peer_tls")
	c.PeerTLS = peerTLS.tls()
	secure := strings.HasPrefix(c.ListenPeer, "https:")
	switch {
	case secure && c.PeerTLS.Cert == "":
		peer.fail("https needs a certificate", "add peer_tls: with cert_file, key_file and ca_file")
	case !secure && peerTLS.present:
		peerTLS.fail("peer_tls is of no use without https", "write https:// in listen_peer and advertise_peer")
	case !secure && !loopbackURL(c.ListenPeer):
		peer.warn("the members of etcd talk unencrypted, and let everyone in", "use https and peer_tls")
	}
	peerTLS.end()
	s.members(c)
	c.Existing = s.get("initial_cluster_state").oneOf("new", "new", "existing") == "existing"
	s.end()
	return c
}

// listenURL is baseURL for what etcd itself listens on.
func (v value) listenURL(otherwise string) string {
	text := v.baseURL(otherwise, false)
	u, err := url.Parse(text)
	if err != nil {
		return otherwise
	}
	if _, err := netip.ParseAddr(u.Hostname()); err != nil && u.Hostname() != "localhost" {
		v.fail("etcd listens on an address, not on a name", "write an IP address or localhost, and the name into advertise_peer")
		return otherwise
	}
	return text
}

// members reads the members of the embedded cluster: name to peer URL, or on one line "name=url,name=url".
func (s *section) members(c *embeddedConfig) {
	list := s.get("initial_cluster")
	if list.given && list.node != nil && list.node.Kind == yaml.ScalarNode {
		list.text, list.node = list.node.Value, nil
	}
	urls := map[string]value{}
	if list.given && list.node == nil {
		for _, item := range list.items() {
			name, text, _ := strings.Cut(item.text, "=")
			item.text = text
			urls[name] = item
		}
	} else {
		urls = list.section().values
	}
	if !list.given {
		return
	}
	c.InitialCluster = map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(urls)) {
		c.InitialCluster[name] = urls[name].baseURL("", false)
	}
	if own, ok := c.InitialCluster[c.Name]; !ok {
		list.fail("this member, "+quote(c.Name)+", is not among the members", "add it, or set name to one of them")
	} else if own != "" && !sameURL(own, c.AdvertisePeer) {
		list.fail("the URL of this member differs from advertise_peer", "write the same in both")
	}
}

// sameURL compares what etcd compares: it refuses to start if a member's entry in the cluster is not what it advertises.
func sameURL(a, b string) bool {
	x, errX := url.Parse(a)
	y, errY := url.Parse(b)
	return errX == nil && errY == nil && x.Scheme == y.Scheme && strings.EqualFold(x.Host, y.Host)
}
