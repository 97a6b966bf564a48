package wechattest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// Report is everything that the judge knows.
type Report struct {
	Now    time.Time `json:"now"`
	Issued []Issued  `json:"issued"`
	Counts []Count   `json:"counts"`
}

// Report returns everything that the judge knows.
func (w *WeChat) Report() Report {
	return Report{Now: w.cfg.Now(), Issued: w.History(), Counts: w.Counts()}
}

// Verdict is what the judge says of one token.
type Verdict struct {
	// Known: it was issued.
	Known bool `json:"known"`
	// Alive at the time asked for.
	Alive bool `json:"alive"`
	// DiesAt is the end of its life as things stand; zero if it is not known.
	DiesAt time.Time `json:"dies_at"`
}

// wireFault is a Fault with a readable delay.
type wireFault struct {
	Fault
	Delay string `json:"delay,omitempty"`
}

func (w *WeChat) control(mux *http.ServeMux) {
	mux.HandleFunc("POST /_sim/fault", func(rw http.ResponseWriter, r *http.Request) {
		var f wireFault
		if !decode(rw, r, &f) {
			return
		}
		if f.Delay != "" {
			delay, err := time.ParseDuration(f.Delay)
			if err != nil {
				reject(rw, err)
				return
			}
			f.Fault.Delay = delay
		}
		conclude(rw, w.AddFault(f.Fault))
	})
	mux.HandleFunc("GET /_sim/fault", func(rw http.ResponseWriter, _ *http.Request) {
		faults := []wireFault{}
		for _, f := range w.Faults() {
			wire := wireFault{Fault: f}
			if f.Delay > 0 {
				wire.Delay = f.Delay.String()
			}
			faults = append(faults, wire)
		}
		reply(rw, faults)
	})
	mux.HandleFunc("DELETE /_sim/fault", func(rw http.ResponseWriter, _ *http.Request) {
		w.ClearFaults()
		conclude(rw, nil)
	})
	mux.HandleFunc("POST /_sim/foreign", func(rw http.ResponseWriter, r *http.Request) {
		var body struct {
			AppID    string   `json:"appid"`
			Endpoint Endpoint `json:"endpoint"`
		}
		if !decode(rw, r, &body) {
			return
		}
		if body.Endpoint != Classic && body.Endpoint != Stable {
			reject(rw, fmt.Errorf("no tokens come from endpoint %q", body.Endpoint))
			return
		}
		grant, err := w.ForeignFetch(body.AppID, body.Endpoint)
		if err != nil {
			reject(rw, err)
			return
		}
		reply(rw, grant)
	})
	mux.HandleFunc("POST /_sim/kill", func(rw http.ResponseWriter, r *http.Request) {
		var body struct {
			Token string `json:"token"`
		}
		if !decode(rw, r, &body) {
			return
		}
		if !w.Kill(body.Token) {
			reject(rw, fmt.Errorf("that token is not alive"))
			return
		}
		conclude(rw, nil)
	})
	mux.HandleFunc("POST /_sim/account", func(rw http.ResponseWriter, r *http.Request) {
		var body struct {
			AppID string `json:"appid"`
			Change
		}
		if decode(rw, r, &body) {
			conclude(rw, w.SetAccount(body.AppID, body.Change))
		}
	})
	mux.HandleFunc("GET /_sim/judge", w.serveJudge)
}

func (w *WeChat) serveJudge(rw http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if !q.Has("token") {
		reply(rw, w.Report())
		return
	}
	at := w.cfg.Now()
	if q.Has("at") {
		var err error
		if at, err = time.Parse(time.RFC3339Nano, q.Get("at")); err != nil {
			reject(rw, err)
			return
		}
	}
	end, known := w.DiesAt(q.Get("token"))
	reply(rw, Verdict{Known: known, Alive: w.AliveAt(q.Get("token"), at), DiesAt: end})
}

// decode reads a request's body strictly, and answers 400 if it cannot.
func decode(rw http.ResponseWriter, r *http.Request, into any) bool {
	decoder := json.NewDecoder(http.MaxBytesReader(rw, r.Body, 64<<10))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		reject(rw, err)
		return false
	}
	return true
}

func reply(rw http.ResponseWriter, v any) {
	rw.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(rw).Encode(v)
}

func reject(rw http.ResponseWriter, err error) { http.Error(rw, err.Error(), http.StatusBadRequest) }

func conclude(rw http.ResponseWriter, err error) {
	if err != nil {
		reject(rw, err)
		return
	}
	rw.WriteHeader(http.StatusNoContent)
}
