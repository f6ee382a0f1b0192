// One buyer's way through a sale, and three refusals on it.
//
//	journey ADDRESS SALE_ID SKU KEY_FILE
//
// The sku needs 3 units on sale and a limit of 2 or more per buyer, as `make up QUANTITY=3` gives to each.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	checkoutv1 "shop.example/gen/flashsale/checkout/v1"
	waitingroomv1 "shop.example/gen/flashsale/waitingroom/v1"
)

const (
	// The longest that a buyer is kept waiting, for the admission and for the payment each.
	patience = 2 * time.Minute
	// A watching call is opened again after this long at the latest: no proxy has to keep it for ever.
	watchFor = 30 * time.Second
)

// key says who calls, in every call of a connection.
type key string

func (k key) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(k)}, nil
}

// RequireTransportSecurity: on this machine there is no TLS. Across machines, answer true.
func (k key) RequireTransportSecurity() bool { return false }

// shop is a shop's side of one sale.
type shop struct {
	checkout checkoutv1.CheckoutServiceClient
	room     waitingroomv1.WaitingRoomServiceClient
	saleID   string
}

// admission waits in line; the admission is the permission to check out once.
func (s *shop) admission(ctx context.Context, buyerID string) (string, error) {
	request := &waitingroomv1.JoinRequest{RequestId: newID(), SaleId: s.saleID, BuyerId: buyerID}
	var joined *waitingroomv1.JoinResponse
	if failure := call(ctx, func(ctx context.Context) (err error) { joined, err = s.room.Join(ctx, request); return }); failure != nil {
		return "", failure
	}
	fmt.Printf("joined: number %d, %d ahead\n", joined.Position.Number, joined.Position.Ahead)
	admission := ""
	err := watch(ctx, func(ctx context.Context) (func() (bool, error), error) {
		stream, err := s.room.WatchPosition(ctx, &waitingroomv1.WatchPositionRequest{Ticket: joined.Ticket})
		if err != nil {
			return nil, err
		}
		return func() (bool, error) {
			answer, err := stream.Recv()
			if err != nil {
				return false, err
			}
			switch outlook := answer.Position.GetOutlook(); outlook {
			case waitingroomv1.Outlook_OUTLOOK_ADMITTED:
				admission = answer.Position.Admission
				return true, nil
			case waitingroomv1.Outlook_OUTLOOK_SOLD_OUT, waitingroomv1.Outlook_OUTLOOK_CLOSED,
				waitingroomv1.Outlook_OUTLOOK_LAPSED, waitingroomv1.Outlook_OUTLOOK_LEFT:
				return true, fmt.Errorf("the line ended with %v", outlook)
			}
			return false, nil
		}, nil
	})
	if err == nil {
		fmt.Println("admitted")
	}
	return admission, err
}

// follow watches an order to its end.
func (s *shop) follow(ctx context.Context, orderID, buyerID string) (*checkoutv1.Order, error) {
	var order *checkoutv1.Order
	err := watch(ctx, func(ctx context.Context) (func() (bool, error), error) {
		request := &checkoutv1.WatchOrderRequest{SaleId: s.saleID, OrderId: orderID, BuyerId: buyerID}
		stream, err := s.checkout.WatchOrder(ctx, request)
		if err != nil {
			return nil, err
		}
		return func() (bool, error) {
			answer, err := stream.Recv()
			if err != nil {
				return false, err
			}
			order = answer.Order
			fmt.Println("order:", state(order))
			switch order.GetState() {
			case checkoutv1.OrderState_ORDER_STATE_CONFIRMED, checkoutv1.OrderState_ORDER_STATE_DECLINED,
				checkoutv1.OrderState_ORDER_STATE_CANCELLED, checkoutv1.OrderState_ORDER_STATE_REFUNDED:
				return true, nil
			}
			return false, nil
		}, nil
	})
	return order, err
}

// watch reads a stream until next says that it is done, and opens it again when it ends or breaks: each stream begins with how
// things stand.
func watch(ctx context.Context, open func(context.Context) (next func() (bool, error), err error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for attempt := 0; ctx.Err() == nil; {
		done, err := watchOnce(ctx, open, &attempt)
		if done {
			return err
		}
		if errors.Is(err, io.EOF) {
			continue
		}
		failure := failureOf(err)
		wait, again := waitBeforeRetry(failure, attempt)
		if !again {
			return failure
		}
		if attempt < 5 {
			attempt++
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
	return fmt.Errorf("waited %v for nothing", patience)
}

func watchOnce(ctx context.Context, open func(context.Context) (func() (bool, error), error), attempt *int) (bool, error) {
	// Ends the call, also when it is left early.
	ctx, cancel := context.WithTimeout(ctx, watchFor)
	defer cancel()
	next, err := open(ctx)
	if err != nil {
		return false, err
	}
	for {
		done, err := next()
		if done || err != nil {
			return done, err
		}
		*attempt = 0
	}
}

// newID makes a request id, a random UUID: one for each thing that a buyer wants, kept for every retry of it.
func newID() string {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic(err)
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func state(order *checkoutv1.Order) string {
	return strings.TrimPrefix(order.GetState().String(), "ORDER_STATE_")
}

// amount is exact: nanos are an integer of 1e-9 units. Never make a float of money.
func amount(m *money.Money) string {
	return fmt.Sprintf("%d.%02d %s", m.GetUnits(), m.GetNanos()/10_000_000, m.GetCurrencyCode())
}

// codeName is a status code as gRPC writes it: FailedPrecondition as FAILED_PRECONDITION.
func codeName(camel string) string {
	var name strings.Builder
	for i, letter := range camel {
		if i > 0 && letter >= 'A' && letter <= 'Z' {
			name.WriteByte('_')
		}
		name.WriteRune(letter)
	}
	return strings.ToUpper(name.String())
}

func tell(failure *Failure) {
	fmt.Printf("refused: %s %s (%s)\n", codeName(failure.Code.String()), failure.Reason, failure.Domain)
	names := make([]string, 0, len(failure.Metadata))
	for name := range failure.Metadata {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Printf("  %s = %s\n", name, failure.Metadata[name])
	}
	for _, field := range failure.Fields {
		fmt.Printf("  field %s: %s\n", field.Path, field.Description)
	}
	if failure.HelpURL != "" {
		fmt.Println("  help", failure.HelpURL)
	}
}

func (s *shop) place(ctx context.Context, request *checkoutv1.PlaceOrderRequest) (*checkoutv1.Order, error) {
	var answer *checkoutv1.PlaceOrderResponse
	failure := call(ctx, func(ctx context.Context) (err error) { answer, err = s.checkout.PlaceOrder(ctx, request); return })
	if failure != nil {
		return nil, failure
	}
	return answer.Order, nil
}

// refused places an order that has to be refused for this reason.
func (s *shop) refused(ctx context.Context, request *checkoutv1.PlaceOrderRequest, reason string) (*Failure, error) {
	_, err := s.place(ctx, request)
	var failure *Failure
	if !errors.As(err, &failure) {
		return nil, fmt.Errorf("this should have been refused with %s", reason)
	}
	if failure.Reason != reason {
		return nil, err
	}
	tell(failure)
	return failure, nil
}

func (s *shop) journey(ctx context.Context, sku string) error {
	// Two new buyers, so that this can be run again.
	ada, bob := "ada-"+newID(), "bob-"+newID()
	contact := &checkoutv1.Contact{Email: "ada@example.com", Name: "Ada"}

	fmt.Println("# Ada buys two")
	admission, err := s.admission(ctx, ada)
	if err != nil {
		return err
	}
	begin := &checkoutv1.BeginCheckoutRequest{
		RequestId: newID(), SaleId: s.saleID, BuyerId: ada,
		Lines:     []*checkoutv1.Line{{Sku: sku, Quantity: 2}},
		Admission: admission,
	}
	var hold *checkoutv1.BeginCheckoutResponse
	if failure := call(ctx, func(ctx context.Context) (err error) { hold, err = s.checkout.BeginCheckout(ctx, begin); return }); failure != nil {
		return failure
	}
	fmt.Printf("held: 2 x %s for %s\n", sku, amount(hold.Total))
	// Keep this request, with its id, until its answer is known, beyond a restart too.
	place := &checkoutv1.PlaceOrderRequest{
		RequestId: newID(), SaleId: s.saleID, BuyerId: ada, HoldId: hold.HoldId,
		Contact: contact, PaymentMethod: "pm_card_visa",
	}
	adas, err := s.place(ctx, place)
	if err != nil {
		return err
	}
	fmt.Println("placed")
	again, err := s.place(ctx, place)
	if err != nil {
		return err
	}
	if again.OrderId != adas.OrderId {
		return errors.New("the same request made two orders")
	}
	fmt.Println("sent again: the same order")

	fmt.Println("# The same request id for something else")
	other := proto.Clone(place).(*checkoutv1.PlaceOrderRequest)
	other.Contact.Email = "eve@example.com"
	if _, err := s.refused(ctx, other, "REQUEST_ID_REUSED"); err != nil {
		return err
	}

	fmt.Println("# A request that makes no sense")
	malformed := proto.Clone(place).(*checkoutv1.PlaceOrderRequest)
	malformed.Contact.Email = "not an address"
	if _, err := s.refused(ctx, malformed, "ARGUMENT_INVALID"); err != nil {
		return err
	}

	fmt.Println("# Bob wants two, and there is one")
	if admission, err = s.admission(ctx, bob); err != nil {
		return err
	}
	want := &checkoutv1.PlaceOrderRequest{
		RequestId: newID(), SaleId: s.saleID, BuyerId: bob,
		Lines:     []*checkoutv1.Line{{Sku: sku, Quantity: 2}},
		Admission: admission, Contact: contact, PaymentMethod: "pm_card_visa",
	}
	soldOut, err := s.refused(ctx, want, "SOLD_OUT")
	if err != nil {
		return err
	}
	left, err := strconv.ParseInt(soldOut.Metadata["available"], 10, 64)
	if err != nil {
		return err
	}
	fmt.Printf("left: %d\n", left)
	// A refusal takes nothing, neither units nor the admission. This is another wish and gets an id of its own.
	want.RequestId, want.Lines[0].Quantity = newID(), left
	bobs, err := s.place(ctx, want)
	if err != nil {
		return err
	}
	fmt.Println("placed")

	for _, each := range []struct{ name, buyerID, orderID string }{{"Ada", ada, adas.OrderId}, {"Bob", bob, bobs.OrderId}} {
		fmt.Printf("# %s's order\n", each.name)
		end, err := s.follow(ctx, each.orderID, each.buyerID)
		if err != nil {
			return err
		}
		if end.State != checkoutv1.OrderState_ORDER_STATE_CONFIRMED {
			return fmt.Errorf("the order ended as %s: %s", state(end), end.EndReason)
		}
		fmt.Println("paid:", amount(end.Total))
	}
	return nil
}

func run(address, saleID, sku, keyFile string) error {
	text, err := os.ReadFile(keyFile)
	if err != nil {
		return err
	}
	// Across machines: grpc.WithTransportCredentials. One connection for the whole program: it pools connections.
	connection, err := grpc.Dial(strings.TrimPrefix(address, "http://"), grpc.WithInsecure(), grpc.WithPerRPCCredentials(key(strings.TrimSpace(string(text)))))
	if err != nil {
		return err
	}
	defer connection.Close()
	s := &shop{
		checkout: checkoutv1.NewCheckoutServiceClient(connection),
		room:     waitingroomv1.NewWaitingRoomServiceClient(connection),
		saleID:   saleID,
	}
	return s.journey(context.Background(), sku)
}

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: journey ADDRESS SALE_ID SKU KEY_FILE")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		var failure *Failure
		if errors.As(err, &failure) {
			fmt.Fprintln(os.Stderr, "this was not to be refused:")
			tell(failure)
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
