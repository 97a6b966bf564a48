package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/tokenbroker/tokenbroker/internal/token"
	"github.com/tokenbroker/tokenbroker/internal/transport"
)

// maxSecretSize bounds what is read of a secret's file.
const maxSecretSize = 4096

// secret reads a reference {file: PATH} or {env: NAME} and what it refers to, and says in words where that was. Neither is ever
// part of a message: somebody may have written the secret itself where its place should be.
func (s *section) secret(key, kind string, optional bool) (token.Secret, string) {
	if v := s.values[key]; v.given && v.node.Kind != yaml.MappingNode {
		s.known = append(s.known, key)
		v.fail("the "+kind+" must not stand in this file", "put it into a file or an environment variable, and write {file: PATH} or {env: NAME}")
		return token.Secret{}, ""
	}
	ref := s.section(key)
	file, env := ref.get("file"), ref.get("env")
	defer ref.end()
	switch {
	case file.given && env.given:
		ref.fail("both file and env are given", "keep one of them")
	case file.given:
		if path, ok := file.scalar(); ok {
			return file.secretFile(path), "file " + path
		}
	case env.given:
		if name, ok := env.scalar(); ok {
			return env.secretVariable(name), "environment " + name
		}
	case ref.present || !optional:
		ref.fail("the "+kind+" is missing", "say where it is: {file: PATH} or {env: NAME}")
	}
	return token.Secret{}, ""
}

// secretFile reads a file that holds a secret.
func (v value) secretFile(path string) token.Secret {
	text, ok := v.fileText(path, maxSecretSize, "let it hold the secret, and nothing else")
	if !ok {
		return token.Secret{}
	}
	return v.secretText(text, "the file named here")
}

// secretVariable reads an environment variable that holds a secret.
func (v value) secretVariable(name string) token.Secret {
	text, ok := v.variableText(name, "set it, or use file instead")
	if !ok {
		return token.Secret{}
	}
	return v.secretText(text, "the environment variable named here")
}

// fileText reads a file that should be kept from others, and nothing in a dry run. What is in it becomes part of no message.
func (v value) fileText(path string, limit int64, remedy string) (text string, ok bool) {
	if v.dry {
		return "", false
	}
	data, mode, err := readSmall(path, limit)
	if err != nil {
		v.fail("the file named here "+fileTrouble(err), remedy)
		return "", false
	}
	v.warnOfReaders(mode)
	return string(data), true
}

// warnOfReaders warns if everybody can read a file.
func (v value) warnOfReaders(mode fs.FileMode) {
	if mode&0o004 != 0 {
		v.warn("every user of this machine can read the file named here", "chmod 600 it (in Kubernetes: defaultMode: 0400)")
	}
}

// variableText reads an environment variable, but in a dry run, and notes its name as one that is used.
func (v value) variableText(name, remedy string) (text string, ok bool) {
	v.variables[name] = true
	if v.dry {
		return "", false
	}
	if text, ok = v.env.Getenv(name); !ok {
		v.fail("the environment variable named here is not set", remedy)
	}
	return text, ok
}

// secretText checks what was found. Editors end files with a line break, so those at the end do not count. A secret with a space or a line
// break in it is a mistake that the upstream would report, if at all, as a wrong secret, and lock the account for.
func (v value) secretText(text, where string) token.Secret {
	text = strings.TrimRight(text, "\r\n")
	switch {
	case text == "":
		v.fail(where+" is empty", "let it hold the secret")
	case !visible(text):
		v.fail(where+" holds something else than printable ASCII", "let it hold the secret, and nothing else")
	default:
		return token.NewSecret(text)
	}
	return token.Secret{}
}

// visible reports whether a text is of printable ASCII characters without spaces.
func visible(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
}

// readSmall reads a regular file of at most limit bytes.
func readSmall(path string, limit int64) ([]byte, fs.FileMode, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	if info.IsDir() {
		return nil, 0, errIsFolder
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = errTooLarge
	}
	return data, info.Mode(), err
}

var (
	errIsFolder = errors.New("is a folder")
	errTooLarge = errors.New("is too large")
)

// fileTrouble says why a file cannot be used, without its name.
func fileTrouble(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "does not exist"
	case errors.Is(err, fs.ErrPermission):
		return "may not be read by this user"
	case errors.Is(err, errIsFolder), errors.Is(err, errTooLarge):
		return err.Error()
	default:
		return "cannot be read"
	}
}

// tls reads the names of the files of one side's TLS, and tries them.
func (s *section) tls() tlsFiles { return s.tlsWith("ca_file") }

// tlsWith is tls where the other side's authorities have a name of their own.
func (s *section) tlsWith(authorities string) tlsFiles {
	ca, cert, key := s.get(authorities), s.get("cert_file"), s.get("key_file")
	files := tlsFiles{CA: ca.str(""), Cert: cert.str(""), Key: key.str("")}
	if (files.Cert == "") != (files.Key == "") {
		s.fail("cert_file and key_file belong together", "give both or neither")
		return files
	}
	if s.dry {
		return files
	}
	if files.CA != "" {
		if _, err := files.authorities(); err != nil {
			ca.fail("the file named here "+err.Error(), "let it hold the authorities' certificates in PEM form")
		}
	}
	if files.Cert != "" {
		if _, err := tls.LoadX509KeyPair(files.Cert, files.Key); err != nil {
			cert.fail("certificate and key cannot be used: "+pairTrouble(err), "let cert_file and key_file hold a matching pair in PEM form")
		}
	}
	return files
}

// pairTrouble says why a certificate and its key cannot be used, without the names of the files.
func pairTrouble(err error) string {
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		return "one of the files " + fileTrouble(err)
	}
	return strings.TrimPrefix(err.Error(), "tls: ")
}

const maxCertificates = 1 << 20

// authorities reads the certificates to trust. Its error continues a sentence that names the file.
func (f tlsFiles) authorities() (*x509.CertPool, error) {
	pem, _, err := readSmall(f.CA, maxCertificates)
	if err != nil {
		return nil, errors.New(fileTrouble(err))
	}
	list, err := transport.ParseCertificates(pem)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for _, authority := range list {
		pool.AddCert(authority)
	}
	return pool, nil
}

// client returns the TLS settings for connecting to an https endpoint. The certificate is read anew for each connection, so that it
// can be renewed under a running process.
func (f tlsFiles) client() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.CA != "" {
		pool, err := f.authorities()
		if err != nil {
			return nil, fmt.Errorf("reading %s: it %w", f.CA, err)
		}
		cfg.RootCAs = pool
	}
	if f.Cert != "" {
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
			return &pair, err
		}
	}
	return cfg, nil
}
