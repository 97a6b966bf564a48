package seal_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"

	"github.com/tokenbroker/tokenbroker/internal/seal"
)

func TestAKeysetOutlivesItsFile(t *testing.T) {
	k, second := grown(t, newKeyset(t))
	k = must(must(k.Promote(second))(t).Disable(k.Primary()))(t)
	sealed := must(k.Seal([]byte(value), place))(t)
	again := must(seal.Parse(must(k.Encode())(t)))(t)
	if d := cmp.Diff(k.Keys(), again.Keys()); d != "" {
		t.Errorf("keys (-want +got):\n%s", d)
	}
	if got := must(again.Open(sealed, place))(t); string(got) != value {
		t.Errorf("opened %q", got)
	}
}

func TestARotationGoesStepByStep(t *testing.T) {
	first := newKeyset(t)
	a := first.Primary()
	both, b := grown(t, first)
	steps := []struct {
		name string
		k    *seal.Keyset
		want []seal.Key
	}{
		{"new", first, []seal.Key{{ID: a, Primary: true, Enabled: true}}},
		{"add", both, []seal.Key{{ID: a, Primary: true, Enabled: true}, {ID: b, Enabled: true}}},
	}
	promoted := must(both.Promote(b))(t)
	disabled := must(promoted.Disable(a))(t)
	steps = append(steps, []struct {
		name string
		k    *seal.Keyset
		want []seal.Key
	}{
		{"promote", promoted, []seal.Key{{ID: a, Enabled: true}, {ID: b, Primary: true, Enabled: true}}},
		{"disable", disabled, []seal.Key{{ID: a}, {ID: b, Primary: true, Enabled: true}}},
		{"enable", must(disabled.Enable(a))(t), []seal.Key{{ID: a, Enabled: true}, {ID: b, Primary: true, Enabled: true}}},
		{"delete", must(disabled.Delete(a))(t), []seal.Key{{ID: b, Primary: true, Enabled: true}}},
	}...)
	for _, s := range steps {
		if d := cmp.Diff(s.want, s.k.Keys()); d != "" {
			t.Errorf("%s (-want +got):\n%s", s.name, d)
		}
	}
	for name, err := range map[string]error{
		"the primary is disabled":  second(promoted.Disable(b)),
		"the primary is deleted":   second(promoted.Delete(b)),
		"a disabled key promoted":  second(disabled.Promote(a)),
		"an unknown key promoted":  second(disabled.Promote(a + 1)),
		"an unknown key disabled":  second(disabled.Disable(a + b + 1)),
		"an unknown key is erased": second(disabled.Delete(a + b + 1)),
	} {
		if err == nil {
			t.Errorf("%s", name)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// tinks returns what Tink makes of a template, in JSON, with a change.
func tinks(t *testing.T, template *tinkpb.KeyTemplate, change func(*tinkpb.Keyset)) []byte {
	t.Helper()
	handle := must(keyset.NewHandle(template))(t)
	material := insecurecleartextkeyset.KeysetMaterial(handle)
	if change != nil {
		change(material)
	}
	var out bytes.Buffer
	if err := keyset.NewJSONWriter(&out).Write(material); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// copied is the same key under another id.
func copied(key *tinkpb.Keyset_Key, id uint32) *tinkpb.Keyset_Key {
	return &tinkpb.Keyset_Key{KeyData: key.GetKeyData(), Status: key.GetStatus(), KeyId: id, OutputPrefixType: key.GetOutputPrefixType()}
}

func TestOtherKeysetsAreRefusedWithoutQuotingThem(t *testing.T) {
	const canary = "c2VjcmV0LWNhbmFyeQ"
	gcm := aead.AES256GCMKeyTemplate()
	for want, data := range map[string][]byte{
		"not a keyset in Tink's JSON form":         []byte(canary),
		"not a keyset in Tink's JSON form, or was": []byte(`{"primaryKeyId":1,"key":[{"keyData":"` + canary + `"}]}`),
		"larger than":               bytes.Repeat([]byte(canary), seal.MaxSize),
		"it is an encrypted keyset": []byte(`{"encryptedKeyset":"` + canary + `"}`),
		"not of the kind that is used here: AES256_GCM":        tinks(t, aead.AES128GCMKeyTemplate(), nil),
		"is not of the kind that is used here: AES256":         tinks(t, aead.AES256GCMNoPrefixKeyTemplate(), nil),
		"its key 7 is not of the kind that is used here":       tinks(t, aead.XChaCha20Poly1305KeyTemplate(), func(k *tinkpb.Keyset) { k.PrimaryKeyId, k.Key[0].KeyId = 7, 7 }),
		"is not a keyset in Tink's JSON form, or was damaged:": nil,
	} {
		k, err := seal.Parse(data)
		if err == nil || k != nil || !strings.Contains(err.Error()+":", want) {
			t.Errorf("%s: got %v, %v", want, k, err)
			continue
		}
		if strings.Contains(err.Error(), canary) {
			t.Errorf("%s: the error quotes it: %v", want, err)
		}
	}
	for name, change := range map[string]func(*tinkpb.Keyset){
		"disabled primary":   func(k *tinkpb.Keyset) { k.Key[0].Status = tinkpb.KeyStatusType_DISABLED },
		"unknown primary":    func(k *tinkpb.Keyset) { k.PrimaryKeyId++ },
		"no keys":            func(k *tinkpb.Keyset) { k.Key = nil },
		"two keys of one id": func(k *tinkpb.Keyset) { k.Key = append(k.Key, copied(k.Key[0], 7), copied(k.Key[0], 7)) },
		"short key":          func(k *tinkpb.Keyset) { k.Key[0].KeyData.Value = k.Key[0].KeyData.Value[:20] },
		"too many keys": func(k *tinkpb.Keyset) {
			for id := range uint32(64) {
				k.Key = append(k.Key, copied(k.Key[0], id+1))
			}
		},
	} {
		if k, err := seal.Parse(tinks(t, gcm, change)); err == nil {
			t.Errorf("%s: got %v", name, k.Keys())
		}
	}
}

func TestKeysArePrintedNowhere(t *testing.T) {
	k := newKeyset(t)
	material := regexp.MustCompile(`"value": *"([^"]+)"`).FindSubmatch(must(k.Encode())(t))
	if material == nil {
		t.Fatal("the encoded keyset has no keys")
	}
	var out bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&out, nil))
	log.Info("keys", "keyset", k, "in", struct{ K *seal.Keyset }{k})
	slog.New(slog.NewTextHandler(&out, nil)).Info("keys", "keyset", k)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb, k)
		fmt.Fprintf(&out, verb, seal.Tolerant{Keyset: k})
	}
	data, err := json.Marshal(map[string]any{"k": k})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(data)
	if got := out.String(); strings.Contains(got, string(material[1])) || strings.Contains(got, string(material[1][4:20])) || !strings.Contains(got, "[redacted]") {
		t.Errorf("printed as %s", got)
	}
}

func TestTheListOfKeysIsACopy(t *testing.T) {
	k := newKeyset(t)
	want := slices.Clone(k.Keys())
	k.Keys()[0].Enabled = false
	if d := cmp.Diff(want, k.Keys()); d != "" {
		t.Error(d)
	}
}
