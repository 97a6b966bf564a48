package leaks_test

import (
	"fmt"
	"go/ast"
	"go/types"
	"strings"
	"testing"

	"github.com/tokenbroker/tokenbroker/test/brokertest"
)

// telling are types that show what they hold when they are printed, by themselves or because printing walks into them.
var telling = map[string]bool{
	"net/http.Request": true, "net/http.Response": true, "net/http.Header": true, "net/http.Cookie": true,
	"net/url.URL": true, "net/url.Values": true, "net/url.Userinfo": true, "google.golang.org/grpc/metadata.MD": true,
	"crypto/tls.Certificate": true, "crypto/tls.Config": true, "crypto/rsa.PrivateKey": true, "crypto/ecdsa.PrivateKey": true,
	"crypto/ed25519.PrivateKey": true, "go.etcd.io/etcd/client/v3.Config": true, "go.etcd.io/etcd/api/v3/mvccpb.KeyValue": true,
	"github.com/go-jose/go-jose/v4.JSONWebKey": true,
}

// shows returns what in a type shows itself when a value of it is printed; nothing if that is safe. Values behind interfaces are not seen.
func shows(t types.Type, seen map[types.Type]bool) string {
	if seen[t] {
		return ""
	}
	seen[t] = true
	if named, ok := types.Unalias(t).(*types.Named); ok {
		name := named.Obj().Name()
		if pkg := named.Obj().Pkg(); pkg != nil {
			name = pkg.Path() + "." + name
		}
		switch {
		case telling[name], has(t, "ProtoReflect"):
			return name
		case has(t, "Error"), has(t, "String"), has(t, "Format"), has(t, "LogValue"):
			return "" // prints itself
		}
	}
	switch u := t.Underlying().(type) {
	case *types.Pointer:
		return shows(u.Elem(), seen)
	case *types.Slice:
		return shows(u.Elem(), seen)
	case *types.Array:
		return shows(u.Elem(), seen)
	case *types.Map:
		if what := shows(u.Key(), seen); what != "" {
			return what
		}
		return shows(u.Elem(), seen)
	case *types.Struct:
		for field := range u.Fields() {
			if what := shows(field.Type(), seen); what != "" {
				return what
			}
		}
	}
	return ""
}

// has reports whether a type or a pointer to it has a method.
func has(t types.Type, method string) bool {
	object, _, _ := types.LookupFieldOrMethod(t, true, nil, method)
	_, ok := object.(*types.Func)
	return ok
}

// bare are the names of what has a token or a secret as a mere string. Commands print that, where it is what they are for; nothing logs it, or
// makes an error of it.
var bare = map[string]bool{"Reveal": true, "GetAccessToken": true, "AccessToken": true, "Password": true, "GetPassword": true, "RawQuery": true}

// reveals returns the name in an expression that stands for a bare token or secret; nothing if there is none.
func reveals(e ast.Expr) (name string) {
	ast.Inspect(e, func(n ast.Node) bool {
		if selector, ok := n.(*ast.SelectorExpr); ok && bare[selector.Sel.Name] {
			name = selector.Sel.Name
		}
		return name == ""
	})
	return name
}

// callee is the function that is called, if that has a name and a package.
func callee(info *types.Info, call *ast.CallExpr) *types.Func {
	var name *ast.Ident
	switch f := ast.Unparen(call.Fun).(type) {
	case *ast.Ident:
		name = f
	case *ast.SelectorExpr:
		name = f.Sel
	default:
		return nil
	}
	f, ok := info.Uses[name].(*types.Func)
	if !ok || f.Pkg() == nil {
		return nil
	}
	return f
}

// prints reports whether a function prints its arguments.
func prints(f *types.Func) bool {
	if f == nil {
		return false
	}
	switch f.Pkg().Path() {
	case "log/slog":
		return true
	case "fmt":
		return !strings.Contains(strings.ToLower(f.Name()), "scan")
	case "google.golang.org/grpc/status":
		return strings.HasSuffix(f.Name(), "f")
	}
	return false
}

// findings lists the arguments in a package's printing calls that show what they hold, and how many such calls there are.
func (l *loader) findings(s source) (found []string, calls int) {
	for _, file := range s.files {
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			f := callee(s.info, call)
			if !prints(f) {
				return true
			}
			calls++
			args, command := call.Args, f.Pkg().Path() == "fmt" && f.Name() != "Errorf"
			if strings.HasPrefix(f.Name(), "F") { // where it prints to
				args = args[1:]
			}
			for _, arg := range args {
				if what := shows(s.info.TypeOf(arg), map[types.Type]bool{}); what != "" {
					found = append(found, fmt.Sprintf("%s: prints a %s", l.place(arg.Pos()), what))
				} else if name := reveals(arg); name != "" && !command {
					found = append(found, fmt.Sprintf("%s: prints what %s gives", l.place(arg.Pos()), name))
				}
			}
			return true
		})
	}
	return found, calls
}

func TestNoMessageRequestOrURLIsPrinted(t *testing.T) {
	t.Parallel()
	brokertest.NoteSources()
	l, sources := load(t, "./cmd/...", "./internal/...", "./client/...")
	calls := 0
	for _, s := range sources {
		found, looked := l.findings(s)
		for _, f := range found {
			t.Error(f)
		}
		calls += looked
	}
	if len(sources) < 20 || calls < 300 {
		t.Errorf("only %d calls in %d packages were looked at", calls, len(sources))
	}
}

// planted prints what must not be printed, each in its own way, and on lines without a mark what may be.
const planted = `package planted

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"

	"google.golang.org/grpc/status"
	"google.golang.org/grpc/codes"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
	"github.com/tokenbroker/tokenbroker/internal/token"
)

type holder struct{ inner []*tokenbrokerv1.Token }
type quiet struct{ inner *tokenbrokerv1.Token }

func (quiet) String() string { return "quiet" }

func plant(log *slog.Logger, m *tokenbrokerv1.GetTokenResponse, r *http.Request, u *url.URL, s token.Secret, h holder, rec token.Record) {
	log.Info("got", "answer", m)                        // found
	log.Info("got", slog.Any("answer", m.GetToken()))   // found
	log.With("request", m)                              // found
	fmt.Println(h)                                      // found
	fmt.Fprintf(os.Stderr, "%v", &h)                    // found
	_ = fmt.Errorf("asking %s: %w", u, errors.New("x")) // found
	_ = fmt.Sprint(*u)                                  // found
	_ = fmt.Sprintf("%v", r.Header)                     // found
	_ = fmt.Sprintf("%+v", r)                           // found
	_ = fmt.Append(nil, map[string]*url.URL{})          // found
	_ = status.Errorf(codes.Internal, "%v", m)          // found
	log.Info("got", "token", m.GetToken().GetAccessToken()) // found
	_ = fmt.Errorf("got %s", s.Reveal()[:4])            // found
	_ = fmt.Errorf("asking ?%s", u.RawQuery)            // found
	log.Info("got", "name", m.GetToken().GetName(), "secret", s, "record", rec, "quiet", quiet{})
	fmt.Fprintln(os.Stdout, m.GetToken().GetAccessToken())
	fmt.Fprintln(os.Stderr, u.Hostname(), r.Method, s, errors.New("x"))
}
`

func TestWhatIsPlantedIsFound(t *testing.T) {
	t.Parallel()
	brokertest.NoteSources()
	l, _ := load(t, "./cmd/...")
	s := l.check(t, "planted", []*ast.File{l.parse(t, "planted.go", planted)})
	got := map[int]int{}
	findings, _ := l.findings(s)
	for _, found := range findings {
		var line int
		if _, err := fmt.Sscanf(found[strings.LastIndex(found, "planted.go"):], "planted.go:%d", &line); err != nil {
			t.Fatal(found)
		}
		got[line]++
	}
	for i, text := range strings.Split(planted, "\n") {
		want := 0
		if strings.HasSuffix(text, "// found") {
			want = 1
		}
		if got[i+1] != want {
			t.Errorf("found %d times, want %d: %s", got[i+1], want, text)
		}
	}
}
