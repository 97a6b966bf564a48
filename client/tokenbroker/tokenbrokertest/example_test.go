package tokenbrokertest_test

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tokenbroker/tokenbroker/client/tokenbroker/tokenbrokertest"
)

// In a test: broker := tokenbrokertest.New(t), and no Close.
func Example() {
	broker := tokenbrokertest.Start()
	defer broker.Close()
	broker.Set("shop", "token-1", 2*time.Hour)
	client := broker.Client()

	token, err := client.Token(context.Background(), "shop")
	fmt.Println(token.Value(), token.State(), err)
	// Output: token-1 active <nil>
}

// What the code under test does when WeChat refuses its token.
func ExampleBroker_Reports() {
	broker := tokenbrokertest.Start()
	defer broker.Close()
	broker.Set("shop", "token-1", 2*time.Hour)
	client, ctx := broker.Client(), context.Background()

	token, _ := client.Token(ctx, "shop")
	token, err := client.Invalid(ctx, token)
	fmt.Println(token.Value(), err, broker.Reports("shop"))
	// Output: shop-version-2 <nil> 1
}

// What the code under test does when the token is rotated.
func ExampleBroker_Rotate() {
	broker := tokenbrokertest.Start()
	defer broker.Close()
	broker.Set("shop", "token-1", 2*time.Hour)
	for token, err := range broker.Client().Watch(context.Background(), "shop") {
		fmt.Println(token.Value(), err)
		if token.Version() == 3 {
			break
		}
		broker.Rotate("shop")
	}
	// Output:
	// token-1 <nil>
	// shop-version-2 <nil>
	// shop-version-3 <nil>
}

// What the code under test does while no broker can be reached.
func ExampleBroker_Fail() {
	broker := tokenbrokertest.Start()
	defer broker.Close()
	broker.Set("shop", "token-1", 2*time.Hour)
	client, ctx := broker.Client(), context.Background()
	_, _ = client.Token(ctx, "shop")
	broker.Fail(status.Error(codes.Unavailable, "the broker is down"))

	held, err := client.Token(ctx, "shop")
	fmt.Println(held.Value(), err)
	ctx, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	_, err = client.Token(ctx, "another")
	fmt.Println(err != nil)
	// Output:
	// token-1 <nil>
	// true
}

// What the code under test does when there is no living token.
func ExampleBroker_Expire() {
	broker := tokenbrokertest.Start()
	defer broker.Close()
	broker.Set("shop", "token-1", 2*time.Hour)
	broker.Expire("shop")

	_, err := broker.Client().Token(context.Background(), "shop")
	fmt.Println(status.Code(err))
	// Output: Unavailable
}
