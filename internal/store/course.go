package store

import (
	"errors"
	"sync"
)

// course is how far a process has seen etcd come. It tells, when etcd is found less far on, that etcd went back in time.
//
// Revision tells, unless others use that etcd too or the restore raised it. Then the head tells: it is put by every write of a record, so
// that whoever finds it at a later revision must find that it was put more often.
type course struct {
	Revision int64 // of etcd
	Head     int64 // mod revision of the head key
	Puts     int64 // how often the head key has been put by then, at least
	Era      int   // how often this process has begun to follow etcd anew; meaningless in what a read found
}

// contradicts reports whether etcd, found at found by a read that was sent when c was known, must have gone back since.
func (c course) contradicts(found course) bool {
	return found.Revision < c.Revision || found.Head < c.Head || c.belies(found)
}

// belies reports whether a head that is no older than the one of c cannot have come after it.
func (c course) belies(found course) bool {
	return found.Head > c.Head && found.Puts <= c.Puts || found.Head == c.Head && found.Puts < c.Puts
}

// Course returns how far etcd had come by its head, for keeping over a restart.
func (s *Store) Course() (head, puts int64) {
	c := s.compass.known()
	return c.Head, c.Puts
}

// Resume goes on from a course that a predecessor of this process kept. It is called before Run.
func (s *Store) Resume(head, puts int64) { s.compass.restart(course{Head: head, Puts: puts}) }

// compass keeps a process' course.
type compass struct {
	mu     sync.Mutex
	course course
	back   bool // etcd went back, and the view has not taken that in
}

// known returns the course as far as it is known. It is taken before a read is sent.
func (c *compass) known() course {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.course
}

// errOvertaken: what was asked of etcd before it was known to have gone back, and answered after, may be of either time.
var errOvertaken = errors.New("etcd went back in time meanwhile")

// found takes in what a read found that was sent when known was known, and reports whether etcd went back, by this or an earlier look. An
// answer that came too late to tell is errOvertaken: it must not make the same restore be noticed twice.
func (c *compass) found(known, found course) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known.Era != c.course.Era {
		return false, errOvertaken
	}
	c.back = c.back || known.contradicts(found)
	if !c.back {
		c.advance(found)
	}
	return c.back, nil
}

// told takes in a revision that a watch of an era told of, with its head, if it put that, and reports whether to read everything anew
// instead. The watch lags behind reads, which contradicts nothing.
func (c *compass) told(era int, told course) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if era != c.course.Era {
		return true
	}
	c.back = c.back || told.Head > 0 && c.course.belies(told)
	if !c.back {
		c.advance(told)
	}
	return c.back
}

// wrote takes in a record that this process wrote, by a write that it began in an era.
func (c *compass) wrote(era int, revision int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if era == c.course.Era && !c.back && revision > c.course.Head {
		c.advance(course{Revision: revision, Head: revision, Puts: c.course.Puts + 1})
	}
}

// restart follows etcd from where it went back to.
func (c *compass) restart(from course) {
	c.mu.Lock()
	defer c.mu.Unlock()
	from.Era = c.course.Era + 1
	c.course, c.back = from, false
}

// advance goes on. The caller holds mu.
func (c *compass) advance(to course) {
	c.course.Revision = max(c.course.Revision, to.Revision)
	if to.Head >= c.course.Head {
		c.course.Head, c.course.Puts = to.Head, max(c.course.Puts, to.Puts)
	}
}
