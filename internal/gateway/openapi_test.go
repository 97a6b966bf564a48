package gateway_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tokenbroker/tokenbroker/internal/gateway"
	tokenbrokerv1 "github.com/tokenbroker/tokenbroker/proto/tokenbroker/v1"
)

func document(t *testing.T) map[string]any {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal(gateway.OpenAPI(), &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

func keys(v any) []string {
	m, _ := v.(map[string]any)
	return slices.Sorted(maps.Keys(m))
}

func TestDescriptionIsServed(t *testing.T) {
	s := newSite(t)
	if r := s.do(http.MethodGet, "/openapi.json", ""); r.body != string(gateway.OpenAPI()) {
		t.Errorf("got %.100s", r.body)
	}
}

func TestEveryPathThatIsDescribedExistsAndEveryBindingIsDescribed(t *testing.T) {
	s := newSite(t)
	s.commit(stable, time.Hour)
	paths := at(document(t), "paths")
	for _, template := range keys(paths) {
		path := strings.Replace(template, "{name}", stable, 1)
		for _, method := range keys(at(paths, template)) {
			if strings.HasSuffix(path, ":watch") {
				s.watch(stable).want("token", "1")
				continue
			}
			r := s.do(strings.ToUpper(method), path, "")
			if r.StatusCode == http.StatusNotFound || r.StatusCode == http.StatusMethodNotAllowed || strings.Contains(r.body, `"errcode":4006`) ||
				strings.Contains(r.body, `"errcode":4300`) {
				t.Errorf("%s %s: %d, %s", method, template, r.StatusCode, r.body)
			}
		}
	}
	text, err := os.ReadFile("../../proto/http.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var service struct {
		HTTP struct {
			Rules []struct{ Selector, Get, Post string }
		}
	}
	if err := yaml.Load(text, &service); err != nil || len(service.HTTP.Rules) == 0 {
		t.Fatal(service, err)
	}
	for _, rule := range service.HTTP.Rules {
		method := rule.Selector[strings.LastIndex(rule.Selector, ".")+1:]
		if at(paths, rule.Get, "get", "operationId") != method && at(paths, rule.Post, "post", "operationId") != method {
			t.Errorf("%s is not described", rule.Selector)
		}
	}
}

func TestEveryFieldIsDescribed(t *testing.T) {
	schemas := at(document(t), "components", "schemas")
	seen := map[protoreflect.FullName]bool{}
	var check func(protoreflect.MessageDescriptor)
	check = func(m protoreflect.MessageDescriptor) {
		if seen[m.FullName()] || m.ParentFile().Package() != "tokenbroker.v1" {
			return
		}
		seen[m.FullName()] = true
		var want []string
		for i := range m.Fields().Len() {
			field := m.Fields().Get(i)
			if strings.HasSuffix(string(m.Name()), "Request") && field.Name() == "name" {
				continue // in the path
			}
			want = append(want, field.JSONName())
			if field.Message() != nil {
				check(field.Message())
			}
		}
		slices.Sort(want)
		if diff := cmp.Diff(want, keys(at(schemas, string(m.Name()), "properties"))); diff != "" {
			t.Errorf("openapi.json, schema %s (-proto +openapi):\n%s", m.Name(), diff)
		}
	}
	for _, m := range []protoreflect.ProtoMessage{
		&tokenbrokerv1.GetTokenResponse{}, &tokenbrokerv1.ListTokensResponse{}, &tokenbrokerv1.ReportInvalidTokenRequest{},
		&tokenbrokerv1.ReportInvalidTokenResponse{}, &tokenbrokerv1.WatchTokenResponse{}, &tokenbrokerv1.GetStatusResponse{},
	} {
		check(m.ProtoReflect().Descriptor())
	}
}

func TestEveryReferenceInTheDescriptionLeadsSomewhere(t *testing.T) {
	doc := document(t)
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			for _, e := range v {
				walk(e)
			}
			if ref, ok := v["$ref"].(string); ok {
				var target any = doc
				for part := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
					target = at(target, part)
				}
				if target == nil {
					t.Errorf("%s leads nowhere", ref)
				}
			}
		}
	}
	walk(doc)
}
