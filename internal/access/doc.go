// Package access says who is calling and what they may have. It looks at credentials and rules only: it knows neither gRPC nor HTTP, and
// holds nothing of any call.
package access
