package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// writer is what Run's goroutine knows of the file. Nobody else touches it.
type writer struct {
	log *Log
	out io.Writer
	// file is out, if it is one that was opened here.
	file *os.File
	// torn: what was written last does not end a line.
	torn bool
	// lost are the lines that are missing since the last one that was written.
	lost int64
	// failing and homeless: the last write failed; the file's name leads to another file, which cannot be opened.
	failing, homeless bool
}

// open opens the file. The one that was open before is closed only if that succeeds.
func (w *writer) open() error {
	path := w.log.cfg.File
	if path == "" {
		w.out = w.log.cfg.Out
		return nil
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600) // read for its last byte alone
	if err != nil {
		return fmt.Errorf("opening the audit log: %w; let it and its folder belong to the user that the broker runs as", err)
	}
	if info, err := f.Stat(); err == nil && info.Mode()&0o022 != 0 && info.Mode().IsRegular() {
		w.log.cfg.Logger.Warn("others can change the audit log; chmod 600 it", "file", path, "mode", info.Mode().String())
	}
	w.close()
	w.file, w.out, w.torn = f, f, endsTorn(f)
	return nil
}

// endsTorn reports whether the file has half a line at its end.
func endsTorn(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
		return false
	}
	var last [1]byte
	_, err = f.ReadAt(last[:], info.Size()-1)
	return err == nil && last[0] != '\n'
}

// close closes the file. What was written to it is in the hands of the system since then.
func (w *writer) close() {
	if w.file != nil {
		w.file.Close()
		w.file = nil
	}
}

// moved reports whether the file's name does not lead to it any more, or did not when that was tried last.
func (w *writer) moved() bool {
	if w.file == nil || w.homeless {
		return w.homeless
	}
	named, err := os.Stat(w.log.cfg.File)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	open, err := w.file.Stat()
	return err == nil && !os.SameFile(named, open)
}

// follow opens the file anew if that is due. If it cannot, the old one is written on; that is said once.
func (w *writer) follow(due bool) {
	if !due {
		return
	}
	err := w.open()
	if err != nil && !w.homeless {
		w.log.cfg.Logger.Error("the audit log cannot be opened anew, and goes on in the old file", "err", err)
	}
	w.homeless = err != nil
	w.show()
}

// flush writes what is queued, if anything, and after a failure, if nothing is, how much was lost.
func (w *writer) flush() {
	b := w.log.take()
	w.lost += w.log.unqueued.Swap(0)
	if b.lines == 0 && w.lost == 0 {
		w.log.settle(b, nil)
		return
	}
	var data []byte
	if w.torn {
		data = append(data, '\n')
	}
	if w.lost > 0 {
		data = appendLost(data, time.Now(), w.log.cfg.Replica, w.lost)
	}
	head := len(data)
	data = append(data, b.data...)
	n, err := w.out.Write(data)
	if err == nil && n < len(data) {
		err = io.ErrShortWrite
	}
	if n > 0 {
		w.torn = data[n-1] != '\n'
	}
	var whole int64
	if n >= head {
		whole, w.lost = int64(bytes.Count(data[head:n], []byte{'\n'})), 0
	}
	w.lost += b.lines - whole
	w.log.metrics.written.Add(float64(whole))
	w.log.metrics.lost.Add(float64(b.lines - whole))
	w.tell(err)
	w.log.settle(b, err)
}

// tell says once that the log cannot be written, and once that it can be again.
func (w *writer) tell(err error) {
	switch log := w.log.cfg.Logger; {
	case err != nil && !w.failing:
		log.Error("the audit log cannot be written; make room for it", "err", err, "refuse", w.log.cfg.Refuse)
	case err == nil && w.failing:
		log.Info("the audit log is written again")
	}
	w.failing = err != nil
	w.show()
}

func (w *writer) show() { w.log.metrics.failing.Store(w.failing || w.homeless) }
