package main

import (
	"context"
	"math/rand"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What a failed call says, and how a call is made that may fail. Copy this file into your shop: nothing in it belongs to the journey.

const (
	// Every call gets a deadline. Without one, gRPC waits for ever.
	deadline = 5 * time.Second
	attempts = 6
	// The longest wait, even if a server asks for more.
	longestWait = 30 * time.Second
)

// Field is a field at fault, with what is wrong with it.
type Field struct{ Path, Description string }

// Failure is a refusal of flashsale, read from the status' details. A program decides by its Reason.
type Failure struct {
	Code codes.Code
	// For people: what happened and what to do next. It may be reworded at any time.
	Message string
	// One of flashsale.errors.v1.ErrorReason without its prefix; empty if another program refused, such as a proxy.
	Reason   string
	Domain   string
	Metadata map[string]string
	// Set where sending the same request again helps.
	RetryAfter *time.Duration
	Fields     []Field
	// A page on this reason.
	HelpURL string
}

func (f *Failure) Error() string { return f.Message }

// failureOf reads google.rpc.Status from the trailer grpc-status-details-bin.
func failureOf(err error) *Failure {
	from := status.Convert(err)
	failure := &Failure{Code: from.Code(), Message: from.Message()}
	for _, detail := range from.Details() {
		// Kinds of detail that are not known here are passed over: there may be more one day.
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			failure.Reason, failure.Domain, failure.Metadata = detail.Reason, detail.Domain, detail.Metadata
		case *errdetails.RetryInfo:
			wait := detail.RetryDelay.AsDuration()
			failure.RetryAfter = &wait
		case *errdetails.BadRequest:
			for _, each := range detail.FieldViolations {
				failure.Fields = append(failure.Fields, Field{each.Field, each.Description})
			}
		case *errdetails.Help:
			if len(detail.Links) > 0 {
				failure.HelpURL = detail.Links[0].Url
			}
		}
	}
	return failure
}

// waitBeforeRetry says how long to wait before the same request is sent again; false if that cannot help.
func waitBeforeRetry(failure *Failure, attempt int) (time.Duration, bool) {
	var wait time.Duration
	switch {
	case failure.RetryAfter != nil:
		wait = *failure.RetryAfter
	case failure.Code == codes.Unavailable || failure.Code == codes.DeadlineExceeded:
		// The connection broke or no answer came in time: the call may or may not have had its effect.
		wait = 200 * time.Millisecond << attempt
	default:
		return 0, false
	}
	if wait > longestWait {
		wait = longestWait
	}
	// Callers that were refused together should not come back together.
	return wait + time.Duration(rand.Int63n(int64(wait)/4+1)), true
}

// call makes a call and repeats it while its failure invites that.
//
// The very same request has to be sent each time, so that its request_id makes all the attempts one: what was done once is answered
// and not done again. Never make a new id for a retry.
func call(ctx context.Context, try func(context.Context) error) *Failure {
	for attempt := 0; ; attempt++ {
		within, cancel := context.WithTimeout(ctx, deadline)
		err := try(within)
		cancel()
		if err == nil {
			return nil
		}
		failure := failureOf(err)
		wait, again := waitBeforeRetry(failure, attempt)
		if !again || attempt+1 == attempts {
			return failure
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return failure
		}
	}
}
