package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"
)

// wire is a connection on which frames of HTTP/2 are written as no client would. It is for one goroutine, but for reading.
type wire struct {
	*http2.Framer
	conn   net.Conn
	fields bytes.Buffer
	packer *hpack.Encoder
	next   uint32 // stream
}

// frames connects to the gRPC port, and sends the preface and settings.
func (w way) frames(ctx context.Context, settings ...http2.Setting) (*wire, error) {
	c, err := w.tls(h2)
	if err != nil {
		return nil, err
	}
	conn, err := w.greeted(ctx, w.GRPC, c)
	if err != nil {
		return nil, err
	}
	_ = conn.SetWriteDeadline(time.Now().Add(time.Minute)) // a broker that reads no more is no reason to hang
	f := &wire{Framer: http2.NewFramer(conn, conn), conn: conn, next: 1}
	f.packer = hpack.NewEncoder(&f.fields)
	_, err = conn.Write([]byte(http2.ClientPreface))
	if err == nil {
		err = f.WriteSettings(settings...)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return f, nil
}

// listen reads frames and throws them away until the connection ends, or ctx does, which closes it. It acknowledges nothing but settings,
// and reports whether the broker ended the connection.
func (f *wire) listen(ctx context.Context, seen func(http2.Frame)) bool {
	stop := context.AfterFunc(ctx, func() { f.conn.Close() })
	defer stop()
	for {
		frame, err := f.ReadFrame()
		var ill http2.StreamError
		switch {
		case errors.As(err, &ill):
		case err != nil:
			return ctx.Err() == nil
		case seen != nil:
			seen(frame)
		}
	}
}

// header is the block of headers of a call or, where the path is one of the gateway's, of a request, and further fields.
func (f *wire) header(path string, more ...hpack.HeaderField) []byte {
	f.fields.Reset()
	verb := http.MethodPost
	if strings.HasPrefix(path, "/v1/") {
		verb = http.MethodGet
	}
	for _, h := range append([]hpack.HeaderField{
		{Name: ":method", Value: verb}, {Name: ":scheme", Value: "https"}, {Name: ":path", Value: path},
		{Name: ":authority", Value: "127.0.0.1"}, {Name: "content-type", Value: "application/grpc"}, {Name: "te", Value: "trailers"},
	}, more...) {
		_ = f.packer.WriteField(h) // into memory
	}
	return f.fields.Bytes()
}

// open begins a call, with its headers in as many frames as they take, and returns its stream.
func (f *wire) open(block []byte) (uint32, error) {
	const most = 16 << 10
	stream := f.next
	f.next += 2
	first, rest := block, []byte(nil)
	if len(block) > most {
		first, rest = block[:most], block[most:]
	}
	err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: first, EndHeaders: len(rest) == 0})
	for err == nil && len(rest) > 0 {
		part := rest[:min(len(rest), most)]
		rest = rest[len(part):]
		err = f.WriteContinuation(stream, len(rest) == 0, part)
	}
	return stream, err
}

// ask sends a request and says that there are no more.
func (f *wire) ask(stream uint32, request proto.Message) error {
	body, err := proto.Marshal(request)
	if err != nil {
		return err
	}
	return f.WriteData(stream, true, envelope(body, len(body), false))
}

// envelope puts a message, or the beginning of one, behind gRPC's prefix.
func envelope(body []byte, size int, compressed bool) []byte {
	prefix := make([]byte, 5, 5+len(body))
	if compressed {
		prefix[0] = 1
	}
	binary.BigEndian.PutUint32(prefix[1:], uint32(size))
	return append(prefix, body...)
}
