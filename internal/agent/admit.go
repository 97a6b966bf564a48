package agent

import (
	"fmt"
	"slices"

	"google.golang.org/grpc/codes"
)

// maxUnknown is how many names are followed at most that callers asked for, and of which no broker has given a token yet. A broker's word
// that there is no such token ends the matter; but while none can be reached each name costs two goroutines, for as long as that lasts.
const maxUnknown = 1024

// admit begins to follow a token that a caller asks for, or says why not. It makes no call.
func (s *service) admit(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if _, known := s.known.Load(name); known {
		return nil
	}
	s.admission.Lock()
	defer s.admission.Unlock()
	followed := s.client.Names()
	if slices.Contains(followed, name) {
		return nil
	}
	unknown := 0
	for _, other := range followed {
		if _, known := s.known.Load(other); !known {
			unknown++
		}
	}
	if unknown >= maxUnknown {
		return refusal(codes.Unavailable, ReasonUnreachable, fmt.Sprintf("no broker has answered yet for %d other names", unknown))
	}
	_, _ = s.lookFirst(name) // there is nothing to see yet
	return nil
}
