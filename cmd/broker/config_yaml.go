package main

import (
	"errors"
	"regexp"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// maxConfigSize bounds the file: some thousand tokens fit in.
const maxConfigSize = 4 << 20

// parseYAML reads the one document of a file into a tree in which every mapping's keys are plain words that occur once, and which has
// no anchors, aliases or tags. It returns nil for an empty file. What cannot be kept is reported and left out.
func parseYAML(file string, data []byte, report func(problem)) *yaml.Node {
	at := func(line, column int) position { return position{file, max(line, 1), max(column, 1)} }
	if len(data) > maxConfigSize {
		report(problem{position: at(1, 1), What: "the file is larger than 4 MiB", Remedy: "is it the right one?"})
		return nil
	}
	if line, column, bad := badCharacter(data); bad {
		report(problem{position: at(line, column), What: "this is not text: a control character, or bytes that are not UTF-8",
			Remedy: "save the file as UTF-8 text"})
		return nil
	}
	var docs []yaml.Node
	if err := yaml.Load(data, &docs, yaml.WithAllDocuments()); err != nil {
		p := problem{position: at(1, 1), What: "this is not YAML"}
		if bad := (*yaml.LoadError)(nil); errors.As(err, &bad) {
			p.position = at(bad.Mark.Line, bad.Mark.Column)
			p.What += ": " + scrub(bad.Message)
			if bad.ContextMsg != "" {
				p.What += " " + bad.ContextMsg
			}
		}
		report(p)
		return nil
	}
	if len(docs) == 0 {
		return nil
	}
	for _, doc := range docs[1:] {
		report(problem{position: at(doc.Line, doc.Column), What: "a second document begins here",
			Remedy: "put everything into one, without a line of ---"})
	}
	t := tidier{at: at, report: report}
	if len(docs[0].Content) == 0 || !t.keep(docs[0].Content[0]) {
		return nil
	}
	return docs[0].Content[0]
}

// badCharacter finds the first place that cannot be in a text file. YAML's own message has no place.
func badCharacter(data []byte) (line, column int, found bool) {
	line, column = 1, 1
	for len(data) > 0 {
		r, size := utf8.DecodeRune(data)
		switch {
		case r == '\n':
			line, column = line+1, 0
		case r == utf8.RuneError && size == 1, r < ' ' && r != '\t' && r != '\r', r == 0x7f:
			return line, column, true
		}
		column++
		data = data[size:]
	}
	return 0, 0, false
}

// quoted finds what the YAML library quotes from the file in its messages: names of anchors and the like. They may be the beginning
// of a secret that somebody wrote where it does not belong.
var quoted = regexp.MustCompile(`'[^']*'`)

// punctuation is what messages may quote all the same.
var punctuation = regexp.MustCompile(`^'[][{},:?-]'$`)

func scrub(message string) string {
	return quoted.ReplaceAllStringFunc(message, func(s string) string {
		if punctuation.MatchString(s) {
			return s
		}
		return "'...'"
	})
}

// tidier takes out of a tree what the configuration has no use for, and reports it.
type tidier struct {
	at     func(line, column int) position
	report func(problem)
}

// keep tidies a node and what is under it. False: the node itself has to go.
func (t *tidier) keep(n *yaml.Node) bool {
	complain := func(n *yaml.Node, what, remedy string) {
		t.report(problem{position: t.at(n.Line, n.Column), What: what, Remedy: remedy})
	}
	switch {
	case n.Kind == yaml.AliasNode:
		complain(n, "an alias (*name) is not supported", "write the value out; quote it if it starts with *")
		return false
	case n.Anchor != "":
		complain(n, "an anchor (&name) is not supported", "take it out; quote the value if it starts with &")
	case n.Style&yaml.TaggedStyle != 0:
		complain(n, "a tag (!name) is not supported", "take it out; quote the value if it starts with !")
	}
	var kept []*yaml.Node
	switch n.Kind {
	case yaml.SequenceNode:
		for _, item := range n.Content {
			if t.keep(item) {
				kept = append(kept, item)
			}
		}
		n.Content = kept
	case yaml.MappingNode:
		first := map[string]*yaml.Node{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			if key.Kind != yaml.ScalarNode {
				complain(key, "a field's name must be a word", "broker config example shows what there is")
				continue
			}
			if before := first[key.Value]; before != nil {
				complain(key, "the field"+fieldName(key.Value)+" stands on line "+itoa(before.Line)+" already",
					"keep one of them")
				continue
			}
			first[key.Value] = key
			if t.keep(value) {
				kept = append(kept, key, value)
			}
		}
		n.Content = kept
	}
	return true
}

var fieldWord = regexp.MustCompile(`^[a-z_]{1,24}$`)

// fieldName is a field's name for a message, after a space, unless it looks like something else: a misplaced secret, for instance.
func fieldName(key string) string {
	if fieldWord.MatchString(key) {
		return ` "` + key + `"`
	}
	return ""
}
