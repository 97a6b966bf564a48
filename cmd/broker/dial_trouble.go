package main

import "strings"

// connectionTrouble says why no connection came about, and what to do, from the text of gRPC's error: it keeps nothing else of what TLS said.
// An error that is not known here is told as it is, with no remedy.
func connectionTrouble(message string, s *security) (cause, remedy string) {
	if _, after, ok := strings.Cut(message, "desc = "); ok {
		message = after
	}
	message = strings.Trim(strings.TrimPrefix(message, "transport: "), `"`)
	for _, t := range troubles {
		if t.encrypted == s.tls && strings.Contains(message, t.sign) {
			return t.cause + " (" + message + ")", t.remedy
		}
	}
	return message, ""
}

const (
	showCertificate = "show a certificate that the broker's client_ca_file has signed: --cert-file and --key-file"
	renewOwn        = "have your own certificate (--cert-file) issued anew, by an authority in the broker's client_ca_file"
	endedAfter      = "the broker ended the connection, as it does where it wants another certificate of the caller, or any"

	answersOtherwise = "the server does not answer in plaintext; it encrypts, presumably"
	encrypt          = "give --ca-file with the authority of the broker's certificate, or --tls for the system's authorities"

	nameServer = "give --server a name or address of the certificate, or --server-name, or issue it anew with this one"
)

// troubles are the ways in which TLS fails, by what is in the error. In TLS 1.3 a server judges the caller's certificate after the handshake,
// so that its verdict is found by the first read, or is lost with the connection.
var troubles = []struct {
	sign      string
	encrypted bool
	cause     string
	remedy    string
}{
	{"first record does not look like a TLS handshake", true,
		"the server does not encrypt", "see that it is the right port; a broker with plaintext: true is called without --ca-file and --tls"},
	{"server gave HTTP response to HTTPS client", true, "the server does not encrypt", "see that it is the right port, and write http:// if it is"},
	{"error reading server preface: ", false, answersOtherwise, encrypt},
	{"connection reset by peer", false, answersOtherwise, encrypt},
	{"broken pipe", false, answersOtherwise, encrypt},
	{"certificate signed by unknown authority", true,
		"the broker's certificate is from an authority that is not known here", "give --ca-file with the authority that issued it; without, the system's are taken"},
	{"certificate has expired or is not yet valid", true,
		"the broker's certificate is out of date, or the clock of one of the two machines is wrong", "renew the broker's certificate: it takes it over by itself"},
	{"x509: certificate is valid for ", true, "the broker's certificate is for another name", nameServer},
	{"x509: certificate is not valid for any names", true, "the broker's certificate is for no name at all", nameServer},
	{"because it doesn't contain any IP SANs", true, "the broker's certificate is for names only", nameServer},
	{"remote error: tls: certificate required", true, "the broker wants to see a certificate", showCertificate},
	{"remote error: tls: unknown certificate authority", true, "the broker does not know the authority of your certificate", renewOwn},
	{"remote error: tls: expired certificate", true, "your certificate has expired", renewOwn},
	{"remote error: tls: bad certificate", true, "the broker does not accept your certificate", renewOwn},
	{"remote error: tls: protocol version not supported", true, "the server does not speak TLS 1.3", "see that it is a broker, or what stands before it"},
	{"error reading server preface: ", true, endedAfter, showCertificate},
	{"connection reset by peer", true, endedAfter, showCertificate},
	{"broken pipe", true, endedAfter, showCertificate},
}
