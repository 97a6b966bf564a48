package main

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// The readers below return the value in the form that is wanted, or otherwise when nobody made the setting or it is wrong; what is
// wrong with it they have reported then.

// scalar returns the value's text; false if it was not given or is no single value.
func (v value) scalar() (string, bool) {
	switch {
	case !v.given:
		return "", false
	case v.node == nil:
		return v.text, true
	case v.node.Kind != yaml.ScalarNode:
		v.fail("a single value is expected here", "write one value, without a list or fields under it")
		return "", false
	}
	return v.node.Value, true
}

// str returns any text.
func (v value) str(otherwise string) string {
	if text, ok := v.scalar(); ok {
		return text
	}
	return otherwise
}

// required is str for what must be given.
func (v value) required(remedy string) string {
	text, ok := v.scalar()
	if text == "" && (ok || !v.given) {
		v.fail("this is required", remedy)
	}
	return text
}

// oneOf returns one of the words.
func (v value) oneOf(otherwise string, words ...string) string {
	text, ok := v.scalar()
	if !ok {
		return otherwise
	}
	if !slices.Contains(words, text) {
		v.fail(quote(text)+" is not possible here", "write "+enumerate(words, "or"))
		return otherwise
	}
	return text
}

func (v value) boolean(otherwise bool) bool {
	return v.oneOf(strconv.FormatBool(otherwise), "false", "true") == "true"
}

// duration returns a duration of at least least, and at most most unless that is 0.
func (v value) duration(otherwise, least, most time.Duration) time.Duration {
	text, ok := v.scalar()
	if !ok {
		return otherwise
	}
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		v.fail(quote(text)+" is not a duration", "write a number with a unit, such as 30s, 9h or 1h30m")
	case d < least:
		v.fail(short(d)+" is too short", "write at least "+short(least))
	case most > 0 && d > most:
		v.fail(short(d)+" is too long", "write at most "+short(most))
	default:
		return d
	}
	return otherwise
}

// count returns a whole number of at least least.
func (v value) count(otherwise, least int64) int64 {
	text, ok := v.scalar()
	if !ok {
		return otherwise
	}
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil:
		v.fail(quote(text)+" is not a whole number", fmt.Sprintf("write a number such as %d", max(least, 200)))
	case n < least:
		v.fail(fmt.Sprintf("%d is too small", n), fmt.Sprintf("write at least %d", least))
	default:
		return n
	}
	return otherwise
}

// items returns the elements of a list. A single value outside the file is split at commas.
func (v value) items() []value {
	switch {
	case !v.given:
		return nil
	case v.node == nil:
		var items []value
		for text := range strings.SplitSeq(v.text, ",") {
			item := v
			item.text = strings.TrimSpace(text)
			items = append(items, item)
		}
		return items
	case v.node.Kind != yaml.SequenceNode:
		v.fail("a list is expected here", "write each element on a line of its own, after a dash: - ...")
		return nil
	}
	items := make([]value, len(v.node.Content))
	for i, n := range v.node.Content {
		items[i] = value{decoder: v.decoder, path: fmt.Sprintf("%s[%d]", v.path, i), at: v.place(n), node: n, given: n.Tag != "!!null"}
	}
	return items
}

// hostPort returns an address to listen on or, if whole is set, to connect to: then neither host nor port may be left open.
func (v value) hostPort(otherwise string, whole bool) string {
	text, ok := v.scalar()
	if !ok {
		return otherwise
	}
	host, port, err := net.SplitHostPort(text)
	n, perr := strconv.ParseUint(port, 10, 16)
	switch {
	case err != nil || perr != nil || strings.ContainsAny(host, " /@"):
		v.fail(quote(text)+" is not host:port", "write, for instance, 127.0.0.1:7700 or broker-1:7700")
	case whole && (host == "" || n == 0):
		v.fail(quote(text)+" cannot be reached from elsewhere", "write the host and port at which others reach this replica")
	default:
		return text
	}
	return otherwise
}

// baseURL returns an http or https URL with a host, and nothing after the path. What is wrong is said without the URL where it may
// contain a password.
func (v value) baseURL(otherwise string, path bool) string {
	text, ok := v.scalar()
	if !ok {
		return otherwise
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		v.fail("this is not an http or https URL", "write, for instance, https://10.0.0.1:2379")
	case u.User != nil:
		v.fail("user name and password do not belong into a URL", "take them out")
	case u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		v.fail("the URL must end before ? and #", "take the rest away")
	case !path && u.Path != "" && u.Path != "/":
		v.fail("the URL must end after host and port", "take the path away")
	default:
		return strings.TrimSuffix(text, "/")
	}
	return otherwise
}

// short writes a duration without the zeros at its end: 9h instead of 9h0m0s.
func short(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// quote shows a wrong value, shortened.
func quote(text string) string {
	if r := []rune(text); len(r) > 40 {
		text = string(r[:40]) + "..."
	}
	return strconv.Quote(text)
}

// loopback reports whether only this machine can reach host: an address or name, an empty one meaning every interface.
func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// loopbackURL is loopback for a URL that baseURL accepted.
func loopbackURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && loopback(u.Hostname())
}
