package gateway

import (
	_ "embed" // openapi.json
	"net/http"
)

const openAPIPath = "/openapi.json"

//go:embed openapi.json
var openAPI []byte

// OpenAPI returns the description of all paths, in OpenAPI's form. It must not be changed.
func OpenAPI() []byte { return openAPI }

func serveOpenAPI(a *answer, r *http.Request) {
	a.path = openAPIPath
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		a.fail(errMethod)
		return
	}
	a.Header().Set("Content-Type", "application/json")
	_, _ = a.Write(openAPI)
}
