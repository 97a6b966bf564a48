package audit

// TraceID returns the trace id of a traceparent as W3C defines it (Trace Context, level 1), empty if it is not valid.
func TraceID(traceparent string) string {
	const (
		version = 2  // two digits, and so the flags
		id      = 32 // from 3 on
		parent  = 16 // from 36 on
		whole   = 55
	)
	switch {
	case len(traceparent) < whole || !hexadecimal(traceparent[:version]) || traceparent[:version] == "ff":
		return ""
	case len(traceparent) > whole && (traceparent[:version] == "00" || traceparent[whole] != '-'): // later versions may say more
		return ""
	case traceparent[2] != '-' || traceparent[35] != '-' || traceparent[52] != '-':
		return ""
	}
	trace, span, flags := traceparent[3:3+id], traceparent[36:36+parent], traceparent[53:whole]
	if !hexadecimal(trace) || !hexadecimal(span) || !hexadecimal(flags) || zero(trace) || zero(span) {
		return ""
	}
	return trace
}

// hexadecimal reports whether a text has lower-case digits only.
func hexadecimal(text string) bool {
	for i := range len(text) {
		if c := text[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func zero(text string) bool {
	for i := range len(text) {
		if text[i] != '0' {
			return false
		}
	}
	return true
}
