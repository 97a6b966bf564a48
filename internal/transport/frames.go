package transport

import "encoding/binary"

// preface is what HTTP/2 begins with.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// What counts of HTTP/2's frames: RFC 9113, sections 4.1 and 6.
const (
	frameData      = 0x0
	frameHeaders   = 0x1
	frameReset     = 0x3
	flagEndStream  = 0x1
	frameHeadBytes = 9
)

// frames follows which streams a client has begun and neither ended nor reset. It looks at the heads of frames only; whether they are
// right is for who reads them.
type frames struct {
	skip  int // bytes until the next head
	head  [frameHeadBytes]byte
	have  int // bytes of the head
	last  uint32
	begun map[uint32]struct{}
}

// see takes what has arrived next.
func (f *frames) see(p []byte) {
	for len(p) > 0 {
		if f.skip > 0 {
			n := min(f.skip, len(p))
			f.skip -= n
			p = p[n:]
			continue
		}
		n := copy(f.head[f.have:], p)
		f.have += n
		p = p[n:]
		if f.have < len(f.head) {
			return
		}
		f.have = 0
		f.skip = int(f.head[0])<<16 | int(f.head[1])<<8 | int(f.head[2])
		f.frame(f.head[3], f.head[4], binary.BigEndian.Uint32(f.head[5:])&^(1<<31))
	}
}

// frame takes the head of one frame.
func (f *frames) frame(kind, flags byte, stream uint32) {
	ends := flags&flagEndStream != 0
	switch kind {
	case frameReset:
		ends = true
	case frameHeaders:
		if stream > f.last { // and not trailers
			f.last = stream
			if !ends {
				f.begun[stream] = struct{}{}
			}
		}
	case frameData:
	default:
		return
	}
	if ends {
		delete(f.begun, stream)
	}
}
