package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenbroker/tokenbroker/internal/seal"
	"github.com/tokenbroker/tokenbroker/internal/store"
)

// keysOf are those in a file.
func keysOf(t *testing.T, file string) []seal.Key {
	t.Helper()
	k, err := readKeyset(file)
	if err != nil {
		t.Fatal(err)
	}
	return k.Keys()
}

// newKeyset makes a keyset's file by the command.
func newKeyset(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "keyset.json")
	if got := command(t.Context(), "x:1", "", "keys", "create", file); !strings.Contains(got, "exit code 0") {
		t.Fatal(got)
	}
	return file
}

func TestANewKeysetIsItsOwnersAloneAndNeverOverwritten(t *testing.T) {
	file := newKeyset(t)
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	got := command(t.Context(), "x:1", "", "keys", "create", file)
	if after, err := os.ReadFile(file); err != nil || string(after) != string(before) || !strings.Contains(got, "not overwritten") || !strings.Contains(got, "exit code 1") {
		t.Errorf("%v\n%s", err, got)
	}
	if err := os.Symlink(file, file+".link"); err != nil {
		t.Fatal(err)
	}
	if got := command(t.Context(), "x:1", "", "keys", "create", file+".link"); !strings.Contains(got, "not overwritten") {
		t.Error(got)
	}
	if got := command(t.Context(), "x:1", "", "keys", "create", filepath.Join(file, "below")); !strings.Contains(got, "writing the keyset") {
		t.Error(got)
	}
}

func TestAKeysFileIsChangedOnlyWhereThatIsSafe(t *testing.T) {
	file := newKeyset(t)
	id := keysOf(t, file)[0].ID.String()
	other := filepath.Join(filepath.Dir(file), "other")
	for name, tc := range map[string]struct {
		prepare func() error
		args    []string
		want    string
	}{
		"a link":                  {func() error { return os.Symlink(file, other) }, []string{"enable", other, id}, "is no regular file"},
		"readable for others":     {func() error { return os.WriteFile(other, nil, 0o644) }, []string{"delete", other, id}, "chmod 600"},
		"none":                    {func() error { return nil }, []string{"rotate", other}, "does not exist; broker keys create makes one"},
		"something else":          {func() error { return os.WriteFile(other, []byte("canary"), 0o600) }, []string{"rotate", other}, "is no keyset that can be used"},
		"no key's id":             {func() error { return nil }, []string{"enable", file, "shop"}, `"shop" is no key's id`},
		"an unknown key":          {func() error { return nil }, []string{"enable", file, "7"}, "changing the keyset"},
		"the deletion of the key": {func() error { return nil }, []string{"delete", file, id}, "the key is enabled"},
	} {
		if err := os.Remove(other); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if err := tc.prepare(); err != nil {
			t.Fatal(err)
		}
		got := command(t.Context(), "x:1", "", append([]string{"keys"}, tc.args...)...)
		if !strings.Contains(got, tc.want) || !strings.Contains(got, "exit code 1") || strings.Contains(got, "canary") {
			t.Errorf("%s:\n%s", name, got)
		}
	}
}

// sealedBy is a value that names a key.
func sealedBy(id seal.ID) []byte {
	return append([]byte{1, byte(id >> 24), byte(id >> 16), byte(id >> 8), byte(id)}, "..."...)
}

func TestARotationTakesOneStepAtATimeAndOnlyWhenItIsSafe(t *testing.T) {
	a, b := seal.Key{ID: 1, Enabled: true}, seal.Key{ID: 2, Enabled: true}
	primary := func(k seal.Key) seal.Key { k.Primary = true; return k }
	disabled := func(k seal.Key) seal.Key { k.Enabled = false; return k }
	has := func(id string, primary seal.ID, keys ...seal.ID) keyHolder {
		return keyHolder{id: id, primary: primary, keys: keys}
	}
	record := func(id seal.ID) store.AtRest { return store.AtRest{Key: "/token/t", Name: "t", Sealed: sealedBy(id)} }
	orphan := store.AtRest{Key: "/orphan/t/x", Name: "t", Attempt: "x", Sealed: sealedBy(1)}
	plain := store.AtRest{Key: "/token/p", Name: "p", Sealed: []byte("as it is")}
	broken := store.AtRest{Key: "/token/m", Name: "m", Sealed: sealedBy(1), Err: &seal.OpenError{Why: seal.Changed}}
	for _, tc := range []struct {
		name     string
		keys     []seal.Key
		replicas []keyHolder
		values   []store.AtRest
		want     keyStep
		about    []seal.ID
		refused  []string
	}{
		{"nothing is under way", []seal.Key{primary(a)}, []keyHolder{has("r", 1, 1)}, nil, stepAdd, nil, nil},
		{"no replica is live", []seal.Key{primary(a)}, nil, nil, stepAdd, nil, nil},
		{"the last one is done", []seal.Key{disabled(a), primary(b)}, []keyHolder{has("r", 2, 2)}, nil, stepAdd, nil, nil},
		{"the file is an old one", []seal.Key{primary(a)}, []keyHolder{has("r", 2, 1, 2)}, nil, stepAdd, nil, []string{"replica r has key 2, which is not in the file"}},
		{"everybody has the new key", []seal.Key{primary(a), b}, []keyHolder{has("r", 1, 1, 2), has("s", 1, 1, 2)}, nil, stepPromote, []seal.ID{2}, nil},
		{"one has it not", []seal.Key{primary(a), b}, []keyHolder{has("r", 1, 1, 2), has("s", 1, 1)}, nil, stepPromote, []seal.ID{2}, []string{"replica s does not have key 2 yet"}},
		{"one has no keyset", []seal.Key{primary(a), b}, []keyHolder{has("s", 0)}, nil, stepPromote, []seal.ID{2}, []string{"replica s does not have key 2 yet"}},
		{"nobody can be asked", []seal.Key{primary(a), b}, nil, nil, stepPromote, []seal.ID{2}, []string{"no replica is live"}},
		{"everybody seals with it", []seal.Key{a, primary(b)}, []keyHolder{has("r", 2, 1, 2)}, []store.AtRest{record(1), record(2), orphan}, stepReseal, []seal.ID{1}, nil},
		{"something is not sealed", []seal.Key{a, primary(b)}, []keyHolder{has("r", 2, 1, 2)}, []store.AtRest{plain}, stepReseal, []seal.ID{1}, nil},
		{"one seals with the old key", []seal.Key{a, primary(b)}, []keyHolder{has("r", 2, 1, 2), has("s", 1, 1, 2)}, []store.AtRest{record(1)}, stepReseal, []seal.ID{1},
			[]string{"replica s still seals with key 1, not with 2"}},
		{"one has lost its keyset", []seal.Key{a, primary(b)}, []keyHolder{has("s", 0)}, []store.AtRest{record(1)}, stepReseal, []seal.ID{1}, []string{"replica s has no keyset"}},
		{"a value was moved", []seal.Key{a, primary(b)}, []keyHolder{has("r", 2, 1, 2)}, []store.AtRest{record(1), broken}, stepReseal, []seal.ID{1}, []string{"token m at /token/m cannot be sealed anew"}},
		{"nothing is sealed with the old key", []seal.Key{a, primary(b)}, []keyHolder{has("r", 2, 1, 2)}, []store.AtRest{record(2)}, stepDisable, []seal.ID{1}, nil},
		{"an orphan is", []seal.Key{a, primary(b)}, []keyHolder{has("r", 2, 1, 2)}, []store.AtRest{record(2), orphan}, stepDisable, []seal.ID{1}, []string{"token t (an outcome"}},
		{"one went back to the old file", []seal.Key{a, primary(b)}, []keyHolder{has("s", 1, 1, 2)}, nil, stepDisable, []seal.ID{1}, []string{"replica s still seals with key 1"}},
	} {
		got := planRotation(tc.keys, tc.replicas, tc.values)
		if got.step != tc.want || len(got.objections) != len(tc.refused) {
			t.Errorf("%s: %s, %q; want %s, %q", tc.name, got.step, got.objections, tc.want, tc.refused)
			continue
		}
		if d := cmp.Diff(tc.about, got.keys); d != "" {
			t.Errorf("%s: keys (-want +got):\n%s", tc.name, d)
		}
		for i, want := range tc.refused {
			if !strings.HasPrefix(got.objections[i], want) {
				t.Errorf("%s: %q, want %q", tc.name, got.objections[i], want)
			}
		}
	}
}

func TestTheKeysetComesFromAFileOrAVariableOrIsDoneWithoutInSoManyWords(t *testing.T) {
	file := newKeyset(t)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	canary := filepath.Join(t.TempDir(), "canary")
	if err := os.WriteFile(canary, []byte(`{"canary":1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(t.TempDir(), "open")
	if err := os.WriteFile(open, text, 0o644); err != nil {
		t.Fatal(err)
	}
	required := map[string]string{"TOKENBROKER_INSECURE_PLAINTEXT_STORE": ""}
	withKeys := map[string]string{"TOKENBROKER_INSECURE_PLAINTEXT_STORE": "", "KEYS": string(text)}
	for _, tc := range []struct {
		name, text string
		env        map[string]string
		want       string // a problem or, after "warns: ", a warning; empty: neither
		atRest     string
	}{
		{"a file", "sealing: {keyset: {file: " + file + "}}\n", required, "", "sealed, keyset in file " + file},
		{"a variable", "sealing: {keyset: {env: KEYS}}\n", withKeys, "", "sealed, keyset in environment KEYS"},
		{"by the environment", "", map[string]string{"TOKENBROKER_INSECURE_PLAINTEXT_STORE": "", "TOKENBROKER_SEALING_KEYSET_FILE": file}, "", "sealed, keyset in file " + file},
		{"beside what is not sealed", "sealing: {keyset: {file: " + file + "}}\n", nil, "", "sealed, keyset in file " + file + "; values that are not are taken in"},
		{"without, in so many words", "", nil, "", "as they are"},
		{"without", "", required, "sealing: there is no keyset: tokens would lie in etcd as they are", ""},
		{"both", "sealing: {keyset: {file: " + file + ", env: KEYS}}\n", withKeys, "sealing.keyset: both file and env are given", ""},
		{"neither", "sealing: {keyset: {}}\n", nil, "sealing.keyset: the keyset is missing", ""},
		{"none", "sealing: {}\n", nil, "sealing.keyset: the keyset is missing", ""},
		{"a file that is not there", "sealing: {keyset: {file: /does/not/exist}}\n", nil, "sealing.keyset.file: the file named here does not exist; let it be what broker keys create", ""},
		{"a variable that is not set", "sealing: {keyset: {env: KEYS}}\n", nil, "sealing.keyset.env: the environment variable named here is not set", ""},
		{"an empty variable", "sealing: {keyset: {env: KEYS}}\n", map[string]string{"KEYS": " "}, "sealing.keyset.env: the environment variable named here is empty", ""},
		{"something else", "sealing: {keyset: {file: " + canary + "}}\n", nil, "sealing.keyset.file: the file named here holds no keyset that can be used: it is not a keyset", ""},
		{"a file for everybody", "sealing: {keyset: {file: " + open + "}}\n", required, "warns: sealing.keyset.file: every user of this machine", "sealed, keyset in file " + open},
	} {
		cfg, warnings, err := loadText(minimal+tc.text, tc.env, nil)
		got := strings.Join(lines(warnings), "\n")
		if err != nil {
			got = strings.Join(lines(err), "\n")
		}
		if want, _ := strings.CutPrefix(tc.want, "warns: "); (want == "") != (got == "") || !strings.Contains(got, want) || strings.Contains(got, "canary") {
			t.Errorf("%s: %s", tc.name, got)
		}
		if (cfg != nil) != (tc.atRest != "") || cfg != nil && summarize(cfg).AtRest != tc.atRest {
			t.Errorf("%s: %v", tc.name, cfg)
		}
		if cfg != nil && strings.Contains(fmt.Sprintf("%+v %#v", cfg, cfg.Sealing), "AesGcmKey") {
			t.Errorf("%s: the keys are printed", tc.name)
		}
	}
}

func TestAChangedKeysetTakesEffectAtTheNextStart(t *testing.T) {
	load := func(file string) *config {
		t.Helper()
		cfg, _, err := loadText(minimal+"sealing: {keyset: {file: "+file+"}}\n", nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	file := newKeyset(t)
	if got := load(file).restartFor(load(file)); len(got) != 0 {
		t.Errorf("the same keyset: %v", got)
	}
	if got := load(file).restartFor(load(newKeyset(t))); cmp.Diff([]string{"sealing"}, got) != "" {
		t.Errorf("another keyset: %v", got)
	}
}

func TestAnEtcdThatDoesNotAnswerIsToldOfAndNothingIsChanged(t *testing.T) {
	file := newKeyset(t)
	before := keysOf(t, file)
	config := filepath.Join(t.TempDir(), "broker.yaml")
	text := strings.Replace(minimal, "127.0.0.1:2379", closedPort(t), 1) + "sealing: {keyset: {file: " + file + "}}\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"keys", "status"}, {"keys", "reseal"}, {"keys", "rotate", file}, {"keys", "rotate", file, "--force"}} {
		got := command(t.Context(), "x:1", "", append(args, "-c", config, "--timeout", "300ms")...)
		if !strings.Contains(got, "looking at the cluster in etcd at http://127.0.0.1:") || !strings.Contains(got, "see that it runs") || !strings.Contains(got, "exit code 1") {
			t.Error(got)
		}
	}
	if d := cmp.Diff(before, keysOf(t, file)); d != "" {
		t.Errorf("the keyset changed:\n%s", d)
	}
}

func TestForceTakesAStepThatIsRefusedAndSaysWhy(t *testing.T) {
	file := newKeyset(t)
	k, err := readKeyset(file)
	if err != nil {
		t.Fatal(err)
	}
	both, added, err := k.Add()
	if err != nil {
		t.Fatal(err)
	}
	late := &keysCluster{replica: []keyHolder{{id: "late", keys: []seal.ID{k.Primary()}, primary: k.Primary()}}}
	var said strings.Builder
	r := &keyRotation{console: console{out: &said, err: &said}, file: file}
	if err := r.step(t.Context(), both, late); err == nil || len(keysOf(t, file)) != 1 {
		t.Errorf("promoted without being forced: %v", err)
	}
	r.force = true
	if err := r.step(t.Context(), both, late); err != nil || !strings.Contains(said.String(), "forced, although:\n  replica late does not have key "+added.String()) {
		t.Errorf("%v: %s", err, said.String())
	}
	if now := keysOf(t, file); len(now) != 2 || !now[1].Primary {
		t.Errorf("the keyset has %v", now)
	}
	promoted, err := readKeyset(file)
	if err != nil {
		t.Fatal(err)
	}
	late.values = []store.AtRest{{Key: "/token/t", Name: "t", Sealed: sealedBy(k.Primary())}}
	if err := r.step(t.Context(), promoted, late); err == nil || !strings.Contains(err.Error(), "reseal is not safe yet") {
		t.Errorf("sealing anew can be forced: %v", err)
	}
}
