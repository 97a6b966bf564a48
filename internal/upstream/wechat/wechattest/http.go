package wechattest

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strconv"
)

// ServeHTTP answers as api.weixin.qq.com does: always with status 200, errors in the body.
func (w *WeChat) ServeHTTP(rw http.ResponseWriter, r *http.Request) { w.mux.ServeHTTP(rw, r) }

func (w *WeChat) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("/cgi-bin/token", w.endpoint(Classic, w.serveClassic))
	mux.Handle("/cgi-bin/stable_token", w.endpoint(Stable, w.serveStable))
	mux.Handle("/cgi-bin/get_api_domain_ip", w.endpoint(DomainIP, w.serveDomainIP))
	mux.Handle("/cgi-bin/user/get", w.endpoint(UserGet, w.serveUserGet))
	mux.Handle("/cgi-bin/clear_quota/v2", w.endpoint(ClearQuota, w.serveClearQuota))
	mux.HandleFunc("/", func(rw http.ResponseWriter, r *http.Request) {
		w.answer(rw, nil, w.refuse("", "", 40066, ""))
	})
	if w.cfg.Control {
		w.control(mux)
	}
	return mux
}

// call is one request, read.
type call struct {
	*http.Request
	body   []byte
	client netip.Addr
}

func (c call) address() string { return c.client.String() }

// errcode is an answer without a token.
type errcode struct {
	Code    int    `json:"errcode"`
	Message string `json:"errmsg"`
}

// endpoint reads the request, and lets a fault strike it or has it processed.
func (w *WeChat) endpoint(endpoint Endpoint, process func(call) (any, error)) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		// Read whole: only then does the server notice that a client has gone.
		body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, 64<<10))
		if err != nil {
			return
		}
		remote, _ := netip.ParseAddrPort(r.RemoteAddr)
		c := call{r, body, remote.Addr().Unmap()}
		fault := w.receive(endpoint, c.client)
		if fault != nil && fault.Kind == Slow && fault.When == Before {
			fault.hold(nil)
			fault = nil
		}
		if fault == nil {
			result, err := process(c)
			w.answer(rw, result, err)
			return
		}
		if fault.When == Before {
			w.missed(endpoint, fault.Kind)
			w.misbehave(rw, c, fault, nil, nil)
			return
		}
		result, err := process(c)
		w.misbehave(rw, c, fault, result, err)
	}
}

// misbehave answers as the fault wants.
func (w *WeChat) misbehave(rw http.ResponseWriter, c call, fault *struck, result any, err error) {
	switch fault.Kind {
	case Hang:
		fault.hold(c.Context().Done())
		panic(http.ErrAbortHandler)
	case Drop:
		panic(http.ErrAbortHandler)
	case Slow:
		fault.hold(c.Context().Done())
		w.answer(rw, result, err)
	case Garbage:
		body := fault.Body
		if body == "" {
			body = "<html>\x00\xff{\"access_token\":"
		}
		_, _ = io.WriteString(rw, body)
	case Truncated:
		text := w.encode(result, err)
		rw.Header().Set("Content-Length", strconv.Itoa(len(text)))
		_, _ = rw.Write(text[:len(text)/2])
		_ = http.NewResponseController(rw).Flush()
		panic(http.ErrAbortHandler)
	case Status:
		http.Error(rw, "<html>simulated</html>", fault.Status)
	case Errcode:
		w.mu.Lock()
		refusal := w.failureFor(fault.Code, c.address())
		w.mu.Unlock()
		w.answer(rw, nil, refusal)
	}
}

func (w *WeChat) missed(endpoint Endpoint, kind Kind) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tally(endpoint, "", "fault_"+string(kind))
}

func (w *WeChat) answer(rw http.ResponseWriter, result any, err error) {
	rw.Header().Set("Content-Type", "application/json; encoding=utf-8")
	_, _ = rw.Write(w.encode(result, err))
}

func (w *WeChat) encode(result any, err error) []byte {
	if refusal, ok := errors.AsType[*Error](err); ok {
		result = errcode{refusal.Code, refusal.Message}
	}
	text, err := json.Marshal(result)
	if err != nil {
		panic(err) // no answer of ours fails to encode
	}
	return text
}

// refuse counts and returns a refusal.
func (w *WeChat) refuse(endpoint Endpoint, appid string, code int, client string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tally(endpoint, appid, strconv.Itoa(code))
	return w.failureFor(code, client)
}

func (w *WeChat) serveClassic(c call) (any, error) {
	q := c.URL.Query()
	appid := q.Get("appid")
	if c.Method != http.MethodGet {
		return nil, w.refuse(Classic, appid, 43001, "")
	}
	if code := w.admit(c, q.Get("grant_type"), appid, q.Get("secret"), 40001); code != 0 {
		return nil, w.refuse(Classic, appid, code, c.address())
	}
	return w.fetch(fetch{endpoint: Classic, appid: appid, client: c.address()})
}

func (w *WeChat) serveStable(c call) (any, error) {
	var body struct {
		GrantType string `json:"grant_type"`
		AppID     string `json:"appid"`
		Secret    string `json:"secret"`
		Force     bool   `json:"force_refresh"`
	}
	if c.Method != http.MethodPost {
		return nil, w.refuse(Stable, "", 43002, "")
	}
	if err := json.Unmarshal(c.body, &body); err != nil {
		return nil, w.refuse(Stable, "", 47001, "")
	}
	if code := w.admit(c, body.GrantType, body.AppID, body.Secret, 40125); code != 0 {
		return nil, w.refuse(Stable, body.AppID, code, c.address())
	}
	return w.fetch(fetch{endpoint: Stable, appid: body.AppID, force: body.Force, client: c.address()})
}

// admit returns the errcode that keeps a caller from fetching at all, or 0.
func (w *WeChat) admit(c call, grantType, appid, secret string, wrongSecret int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := w.accounts[appid]
	switch {
	case grantType != "client_credential":
		return 40002
	case appid == "":
		return 41002
	case secret == "":
		return 41004
	case a == nil:
		return 40013
	case len(a.whitelist) > 0 && !contains(a.whitelist, c.client):
		return 40164
	case secret != a.Secret:
		return wrongSecret
	}
	return 0
}

func (w *WeChat) serveDomainIP(c call) (any, error) {
	return w.business(DomainIP, c, map[string]any{"ip_list": []string{"192.0.2.1", "192.0.2.2"}})
}

func (w *WeChat) serveUserGet(c call) (any, error) {
	return w.business(UserGet, c, map[string]any{
		"total": 1, "count": 1, "data": map[string]any{"openid": []string{"oSimulatedOpenID"}}, "next_openid": "oSimulatedOpenID",
	})
}

// business is a call that needs a living token.
func (w *WeChat) business(endpoint Endpoint, c call, result any) (any, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if refusal := w.check(c.URL.Query().Get("access_token")); refusal != nil {
		w.tally(endpoint, "", strconv.Itoa(refusal.Code))
		return nil, refusal
	}
	w.tally(endpoint, "", "0")
	return result, nil
}

func (w *WeChat) serveClearQuota(c call) (any, error) {
	var body struct {
		AppID  string `json:"appid"`
		Secret string `json:"appsecret"`
	}
	if c.Method != http.MethodPost {
		return nil, w.refuse(ClearQuota, "", 43002, "")
	}
	if err := json.Unmarshal(c.body, &body); err != nil {
		return nil, w.refuse(ClearQuota, "", 47001, "")
	}
	if code := w.admit(c, "client_credential", body.AppID, body.Secret, 40125); code != 0 {
		return nil, w.refuse(ClearQuota, body.AppID, code, c.address())
	}
	if err := w.ClearQuota(body.AppID); err != nil {
		return nil, err
	}
	return errcode{0, "ok"}, nil
}
