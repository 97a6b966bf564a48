package server_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/tokenbroker/tokenbroker/internal/token"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

// serveTCP runs the world's server on a port of its own until the test ends, and returns its address.
func serveTCP(t *testing.T, w *world) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.server.Run(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// watchUnread opens so many watches on one connection, none of which may send anything, and returns when the server has opened them.
func watchUnread(t *testing.T, address string, watches int) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	f := http2.NewFramer(conn, conn)
	request, err := proto.Marshal(&tokenbrokerv1.WatchTokenRequest{Name: stable})
	if err != nil {
		t.Fatal(err)
	}
	request = append([]byte{0, 0, 0, 0, byte(len(request))}, request...)
	if _, err = io.WriteString(conn, http2.ClientPreface); err == nil {
		err = f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	}
	for i := 0; i < watches && err == nil; i++ {
		stream := uint32(2*i + 1)
		if err = f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: headers(tokenbrokerv1.TokenBrokerService_WatchToken_FullMethodName), EndHeaders: true}); err == nil {
			err = f.WriteData(stream, true, request)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	opened, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for begun := 0; ; {
			frame, err := f.ReadFrame()
			if err != nil {
				return
			}
			switch frame.(type) {
			case *http2.HeadersFrame: // an answer begins
				if begun++; begun == watches {
					close(opened)
				}
			case *http2.DataFrame:
				t.Error("something was sent into a window of 0")
			}
		}
	}()
	t.Cleanup(func() { conn.Close(); <-ended })
	select {
	case <-opened:
	case <-ended:
		t.Fatal("the server has closed the connection")
	}
}

// headers are those of a call, packed.
func headers(method string) []byte {
	var block bytes.Buffer
	packer := hpack.NewEncoder(&block)
	for _, h := range [][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":path", method}, {":authority", "broker"}, {"content-type", "application/grpc"}, {"te", "trailers"},
	} {
		_ = packer.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}) // into memory
	}
	return block.Bytes()
}

// held is the memory that is in use, for objects and for stacks.
func held() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what the first has put aside
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// TestWatchersWhoNeverReadCostBoundedMemory: however often the token changes. What bounds it is what gRPC takes before Send blocks.
func TestWatchersWhoNeverReadCostBoundedMemory(t *testing.T) {
	const watches, most = 500, 192 << 10 // bytes each
	w := newWorld(t)
	w.commit(stable, time.Hour)
	address := serveTCP(t, w)
	before := held()
	watchUnread(t, address, watches)
	// gRPC counts bytes of messages, and keeps each in a buffer of 256 bytes, or of 4 KB, or more: these fill theirs.
	filling := strings.Repeat("v", 3500)
	change := func(times int) uint64 {
		for range times {
			w.write(stable, func(rec *token.Record) {
				rec.Version++
				rec.Value = token.NewSecret(fmt.Sprintf("%d-%s", rec.Version, filling))
			})
			runtime.Gosched() // let some see each
		}
		return held() - before
	}
	once, much := change(800), change(800)
	t.Logf("each watch: %d KB, then %d KB", once/watches>>10, much/watches>>10)
	if much > watches*most {
		t.Errorf("%d watches that are not read hold %d KB each after 1600 changes, want %d at most", watches, much/watches>>10, most>>10)
	}
}

func TestStreamsOfHealthAreBoundedByAddressAndOthersMayStillOpenOne(t *testing.T) {
	w := newWorld(t)
	address := serveTCP(t, w)
	// Two connections, since each has room for 1024 streams: 1024 are what one address may have.
	open := func(from string, streams int) (code codes.Code) {
		t.Helper()
		conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
				return (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).DialContext(ctx, "tcp", address)
			}))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		for range streams {
			stream, err := grpc_health_v1.NewHealthClient(conn).Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Recv(); err != nil {
				return status.Code(err)
			}
		}
		return codes.OK
	}
	for _, c := range []struct {
		from    string
		streams int
		want    codes.Code
	}{
		{"127.0.0.1", 600, codes.OK}, {"127.0.0.1", 424, codes.OK}, {"127.0.0.1", 1, codes.ResourceExhausted}, {"127.0.0.2", 1, codes.OK},
	} {
		if code := open(c.from, c.streams); code != c.want {
			t.Fatalf("%d more streams from %s: %v, want %v", c.streams, c.from, code, c.want)
		}
	}
}

// TestCallsOfHealthWhoseRequestDoesNotComeAreBounded: by headers alone, which is all that it takes to occupy a goroutine.
func TestCallsOfHealthWhoseRequestDoesNotComeAreBounded(t *testing.T) {
	w := newWorld(t)
	address := serveTCP(t, w)
	refused := make(chan struct{}, 200)
	for range 2 { // 600 calls each, of 1024 in all
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		f := http2.NewFramer(conn, conn)
		if _, err = io.WriteString(conn, http2.ClientPreface); err == nil {
			err = f.WriteSettings()
		}
		for i := 0; i < 600 && err == nil; i++ {
			err = f.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*i + 1), BlockFragment: headers(grpc_health_v1.Health_Check_FullMethodName), EndHeaders: true})
		}
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for {
				frame, err := f.ReadFrame()
				if err != nil {
					return
				}
				if h, ok := frame.(*http2.HeadersFrame); ok && h.StreamEnded() {
					refused <- struct{}{}
				}
			}
		}()
		t.Cleanup(func() { conn.Close(); <-ended })
	}
	for range 2*600 - 1024 { // waits for ever if they are not
		<-refused
	}
}
