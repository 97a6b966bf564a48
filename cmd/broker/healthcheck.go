package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// healthcheckCommand is for container runtimes, whose images have no other program to ask with. They know the exit codes 0 and 1 only.
func healthcheckCommand(c console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "Ask whether a broker serves, for probes",
		Long: `Asks one broker for its health: by gRPC's health protocol or, with --http, by its HTTP address.

With --http https://... the certificate is checked by --ca-file, or against the system's authorities; --cert-file is for a broker that wants one
from everybody. A bearer token is not sent: probes are answered to whoever can connect.

Exit codes:
  0  it serves
  1  it does not serve, or nothing answers
  64 the command line is wrong`,
		Example: `  broker healthcheck
  broker healthcheck --http http://127.0.0.1:7780/readyz
  broker healthcheck --ca-file /etc/tokenbroker/ca.pem --http https://127.0.0.1:7780/readyz`,
		Args: cobra.NoArgs,
	}
	cl := newClient(c, cmd, 2*time.Second)
	settle := cmd.PreRunE
	address := cmd.Flags().String("http", "", "ask this URL instead")
	service := cmd.Flags().String("service", "", "the gRPC service to ask for (default: the whole server)")
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if *address != "" {
			cl.servers = []string{defaultServer} // nobody else is called
		}
		return settle(cmd, args)
	}
	cmd.RunE = carryOut(func(ctx context.Context, _ []string) error {
		ask := cl.askGRPC
		if *address != "" {
			ask = cl.askHTTP
			*service = *address
		}
		answer, err := ask(ctx, *service)
		if err != nil {
			return &outcome{code: exitFailed, text: failed("healthcheck", err).text}
		}
		_, err = fmt.Fprintln(c.out, answer)
		return err
	})
	return cmd
}

// askGRPC returns SERVING, or why not.
func (c *client) askGRPC(ctx context.Context, service string) (string, error) {
	var resp *healthpb.HealthCheckResponse
	err := c.call(ctx, `{}`, func(ctx context.Context, conn *grpc.ClientConn, opts ...grpc.CallOption) (err error) {
		resp, err = healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: service}, opts...)
		return err
	})
	if err != nil {
		return "", err
	}
	if resp.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		return "", fmt.Errorf("the broker says %s", resp.GetStatus())
	}
	return resp.GetStatus().String(), nil
}

// askHTTP returns the status if it is 200, or else an error with the body, which says what is missing.
func (c *client) askHTTP(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	secure, err := c.files.Config()
	if err != nil {
		return "", err
	}
	direct := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: secure}} // a probe is not for proxies
	resp, err := direct.Do(req)
	if err != nil {
		if cause, remedy := connectionTrouble(err.Error(), &security{tls: req.URL.Scheme == "https"}); remedy != "" {
			return "", fmt.Errorf("%s\n  remedy   %s", cause, remedy)
		}
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		return "", err
	}
	if resp.StatusCode == http.StatusBadRequest && bytes.HasPrefix(body, []byte("Client sent an HTTP request to an HTTPS server")) {
		return "", fmt.Errorf("%s is served over TLS\n  remedy   write https://, and give --ca-file", url)
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answers %s: %s", url, resp.Status, body)
	}
	return resp.Status, nil
}
