// Package foreign tries the broker with clients that were not written here, each in a process of its own: grpcurl, @grpc/grpc-js with the
// .proto file loaded at run time, curl on every HTTP path, and the programs in examples/, in all their languages. `make test-foreign`
// installs what they need and runs the tests, which carry the build tag "foreign" because nobody else should have to have all that.
//
//	grpcurl_test.go    grpcurl
//	node_test.go       runs node/*.test.js, which hold the checks themselves: the API, and an SDK for WeChat with the code of its page
//	pages_test.go      the code that other pages of docs/sdk tell users to write, on stand-ins for their SDKs
//	curl_test.go       curl: JSON, events, errors, conditional requests
//	compatible_test.go curl: WeChat's own two calls
//	examples_test.go   examples/
//	dialogues/         what WeChat SDKs send, replayed byte by byte; needs nothing foreign, and so belongs to `make test`
//	site/              what all of them are tried on
//
// A language that cannot be had on a machine is left out if FOREIGN_WITHOUT names it, as `install` does after it has said so. Nothing
// else is ever left out.
package foreign
