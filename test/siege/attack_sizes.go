package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"golang.org/x/net/http2/hpack"

	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

const method = tokenbrokerv1.TokenBrokerService_GetToken_FullMethodName

// sizeAttacks send more than anybody needs.
func sizeAttacks() []attack {
	return []attack{
		{
			name: "huge-message", does: "messages that say they have 1 GB, and send 1 MB of it as far as they may, 500 a second on 8 connections",
			stops: "the size is refused when it is announced: 64 KB at most",
			run: func(ctx context.Context, t target, n *tally) error {
				return flood(ctx, t.way, 500, n, sendBody(envelope(make([]byte, 60<<10), 1<<30, false)))
			},
		},
		{
			name: "gzip-bomb", does: "messages of 16 MB of zeros in 16 KB, compressed, 500 a second on 8 connections",
			stops: "unpacking ends at 64 KB",
			run: func(ctx context.Context, t target, n *tally) error {
				packed, err := zeros(16 << 20)
				if err != nil {
					return err
				}
				return flood(ctx, t.way, 500, n, sendBody(envelope(packed, len(packed), true), hpack.HeaderField{Name: "grpc-encoding", Value: "gzip"}))
			},
		},
		{
			name: "huge-metadata", does: "calls with 64 KB of metadata, in HEADERS and CONTINUATION frames, 500 a second on 8 connections",
			stops: "16 KB at most; what is above is not kept",
			run: func(ctx context.Context, t target, n *tally) error {
				value := strings.Repeat("~", 64<<10)
				return flood(ctx, t.nobody(), 500, n, func(f *wire) error {
					_, err := f.open(f.header(method, hpack.HeaderField{Name: "x-padding", Value: value, Sensitive: true}))
					return err
				})
			},
		},
		{
			name: "many-fields", does: "calls with 20000 fields of metadata, a byte each by HPACK's table, 200 a second on 8 connections",
			stops: "16 KB unpacked at most; what is above is not kept, and the connection ends",
			run: func(ctx context.Context, t target, n *tally) error {
				return flood(ctx, t.nobody(), 200, n, func(f *wire) error {
					fields := make([]hpack.HeaderField, 20000)
					for i := range fields {
						fields[i] = hpack.HeaderField{Name: "x-padding", Value: "x"}
					}
					_, err := f.open(f.header(method, fields...))
					return err
				})
			},
		},
		{
			name: "huge-http", does: "requests of HTTP/1.1 with 64 KB of headers and with bodies of 1 MB in turn, 300 a second over 8 connections",
			stops: "16 KB of each at most; the connection ends there",
			run: func(ctx context.Context, t target, n *tally) error {
				header, turn := strings.Repeat("x", 64<<10), make(chan bool, 1)
				turn <- true
				return callHTTP(ctx, t.way, 8, 300, func() *http.Request {
					odd := <-turn
					turn <- !odd
					if !odd {
						return post(t.way, "/cgi-bin/stable_token", 1<<20)
					}
					req := get(t.way, "/v1/tokens/"+t.Still)
					req.Header.Set("X-Padding", header)
					return req
				}, errcodeOrStatus, n)
			},
		},
	}
}

// errcodeOrStatus is the outcome of an answer of either manner.
func errcodeOrStatus(resp *http.Response) string {
	if strings.HasPrefix(resp.Request.URL.Path, "/cgi-bin/") {
		return errcode(resp)
	}
	return status200(resp)
}

// sendBody opens a call and sends the body as one frame after another.
func sendBody(body []byte, fields ...hpack.HeaderField) func(*wire) error {
	return func(f *wire) error {
		stream, err := f.open(f.header(method, fields...))
		for rest := body; err == nil && len(rest) > 0; {
			part := rest[:min(len(rest), 16<<10)]
			rest = rest[len(part):]
			err = f.WriteData(stream, len(rest) == 0, part)
		}
		return err
	}
}

// zeros is so many of them, compressed.
func zeros(size int64) ([]byte, error) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := io.Copy(z, io.LimitReader(zero{}, size)); err != nil {
		return nil, fmt.Errorf("packing zeros: %w", err)
	}
	err := z.Close()
	return packed.Bytes(), err
}

// zero reads as zeros without end.
type zero struct{}

// Read implements io.Reader.
func (zero) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// post is a request with a body of zeros.
func post(w way, path string, size int64) *http.Request {
	req := get(w, path)
	req.Method, req.Body, req.ContentLength = http.MethodPost, io.NopCloser(io.LimitReader(zero{}, size)), size
	return req
}
