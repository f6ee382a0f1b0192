import com.google.type.Money;
import io.grpc.ClientInterceptor;
import io.grpc.Context;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.MetadataUtils;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import java.util.function.Supplier;
import shop.example.flashsale.checkout.v1.BeginCheckoutRequest;
import shop.example.flashsale.checkout.v1.BeginCheckoutResponse;
import shop.example.flashsale.checkout.v1.CheckoutServiceGrpc;
import shop.example.flashsale.checkout.v1.Contact;
import shop.example.flashsale.checkout.v1.Line;
import shop.example.flashsale.checkout.v1.Order;
import shop.example.flashsale.checkout.v1.OrderState;
import shop.example.flashsale.checkout.v1.PlaceOrderRequest;
import shop.example.flashsale.checkout.v1.WatchOrderRequest;
import shop.example.flashsale.waitingroom.v1.JoinRequest;
import shop.example.flashsale.waitingroom.v1.JoinResponse;
import shop.example.flashsale.waitingroom.v1.Outlook;
import shop.example.flashsale.waitingroom.v1.WaitingRoomServiceGrpc;
import shop.example.flashsale.waitingroom.v1.WatchPositionRequest;

/**
 * One buyer's way through a sale, and three refusals on it: {@code Journey ADDRESS SALE_ID SKU KEY_FILE}.
 *
 * <p>The sku needs 3 units on sale and a limit of 2 or more per buyer, as `make up QUANTITY=3` gives to each.
 */
public final class Journey {
    /** The longest that a buyer is kept waiting, for the admission and for the payment each. */
    private static final Duration PATIENCE = Duration.ofMinutes(2);
    /** A watching call is opened again after this long at the latest: no proxy has to keep it for ever. */
    private static final Duration WATCH = Duration.ofSeconds(30);

    private final CheckoutServiceGrpc.CheckoutServiceBlockingStub checkout;
    private final WaitingRoomServiceGrpc.WaitingRoomServiceBlockingStub room;
    private final String saleId;

    private Journey(ManagedChannel channel, String saleId) {
        checkout = CheckoutServiceGrpc.newBlockingStub(channel);
        room = WaitingRoomServiceGrpc.newBlockingStub(channel);
        this.saleId = saleId;
    }

    // A stub's deadline runs from when it is set: one for each attempt.
    private CheckoutServiceGrpc.CheckoutServiceBlockingStub checkout(Duration within) {
        return checkout.withDeadlineAfter(within.toMillis(), TimeUnit.MILLISECONDS);
    }

    private WaitingRoomServiceGrpc.WaitingRoomServiceBlockingStub room(Duration within) {
        return room.withDeadlineAfter(within.toMillis(), TimeUnit.MILLISECONDS);
    }

    /** Waits in line; the admission is the permission to check out once. */
    private String admission(String buyerId) throws Failure, InterruptedException {
        JoinRequest request = JoinRequest.newBuilder().setRequestId(newId()).setSaleId(saleId).setBuyerId(buyerId).build();
        JoinResponse joined = Failure.call(() -> room(Failure.DEADLINE).join(request));
        System.out.printf("joined: number %d, %d ahead%n", joined.getPosition().getNumber(), joined.getPosition().getAhead());
        WatchPositionRequest watch = WatchPositionRequest.newBuilder().setTicket(joined.getTicket()).build();
        String admission = watch(() -> room(WATCH).watchPosition(watch), answer -> {
            Outlook outlook = answer.getPosition().getOutlook();
            return switch (outlook) {
                case OUTLOOK_ADMITTED -> Optional.of(answer.getPosition().getAdmission());
                case OUTLOOK_SOLD_OUT, OUTLOOK_CLOSED, OUTLOOK_LAPSED, OUTLOOK_LEFT ->
                    throw new IllegalStateException("the line ended with " + outlook);
                default -> Optional.empty();
            };
        });
        System.out.println("admitted");
        return admission;
    }

    /** Watches an order to its end. */
    private Order follow(String orderId, String buyerId) throws Failure, InterruptedException {
        WatchOrderRequest request =
                WatchOrderRequest.newBuilder().setSaleId(saleId).setOrderId(orderId).setBuyerId(buyerId).build();
        return watch(() -> checkout(WATCH).watchOrder(request), answer -> {
            System.out.println("order: " + state(answer.getOrder()));
            return switch (answer.getOrder().getState()) {
                case ORDER_STATE_CONFIRMED, ORDER_STATE_DECLINED, ORDER_STATE_CANCELLED, ORDER_STATE_REFUNDED ->
                    Optional.of(answer.getOrder());
                default -> Optional.empty();
            };
        });
    }

    /**
     * Reads a stream until an answer is what was waited for, and opens it again when it ends or breaks: each stream begins with how
     * things stand.
     */
    private static <A, T> T watch(Supplier<Iterator<A>> open, Function<A, Optional<T>> found)
            throws Failure, InterruptedException {
        long giveUp = System.nanoTime() + PATIENCE.toNanos();
        for (int attempt = 0; System.nanoTime() < giveUp; ) {
            // A blocking stream that is left early ends with its context.
            Context.CancellableContext context = Context.current().withCancellation();
            Context before = context.attach();
            try {
                Iterator<A> answers = open.get();
                while (answers.hasNext()) {
                    attempt = 0;
                    Optional<T> result = found.apply(answers.next());
                    if (result.isPresent()) {
                        return result.get();
                    }
                }
            } catch (StatusRuntimeException error) {
                Failure failure = new Failure(error);
                Optional<Duration> wait = failure.waitBeforeRetry(attempt);
                if (wait.isEmpty()) {
                    throw failure;
                }
                Thread.sleep(wait.get().toMillis());
                attempt = Math.min(attempt + 1, 5);
            } finally {
                context.detach(before);
                context.cancel(null);
            }
        }
        throw new IllegalStateException("waited " + PATIENCE.toSeconds() + " s for nothing");
    }

    /** A request id: one for each thing that a buyer wants, kept for every retry of it. */
    private static String newId() {
        return UUID.randomUUID().toString();
    }

    private static String state(Order order) {
        return order.getState().name().substring("ORDER_STATE_".length());
    }

    /** Exact: nanos are an integer of 1e-9 units. Never make a double of money. */
    private static String money(Money amount) {
        return String.format("%d.%02d %s", amount.getUnits(), amount.getNanos() / 10_000_000, amount.getCurrencyCode());
    }

    private static void tell(Failure failure) {
        System.out.printf("refused: %s %s (%s)%n", failure.code, failure.reason, failure.domain);
        failure.metadata.forEach((name, value) -> System.out.printf("  %s = %s%n", name, value));
        failure.fields.forEach(field -> System.out.printf("  field %s: %s%n", field.path(), field.description()));
        if (!failure.helpUrl.isEmpty()) {
            System.out.println("  help " + failure.helpUrl);
        }
    }

    private Order place(PlaceOrderRequest request) throws Failure, InterruptedException {
        return Failure.call(() -> checkout(Failure.DEADLINE).placeOrder(request)).getOrder();
    }

    /** The order has to be refused for this reason. */
    private Failure refused(PlaceOrderRequest request, String reason) throws Failure, InterruptedException {
        try {
            place(request);
        } catch (Failure failure) {
            if (!failure.reason.equals(reason)) {
                throw failure;
            }
            tell(failure);
            return failure;
        }
        throw new IllegalStateException("this should have been refused with " + reason);
    }

    private void journey(String sku) throws Failure, InterruptedException {
        // Two new buyers, so that this can be run again.
        String ada = "ada-" + newId();
        String bob = "bob-" + newId();
        Contact contact = Contact.newBuilder().setEmail("ada@example.com").setName("Ada").build();

        System.out.println("# Ada buys two");
        BeginCheckoutRequest begin = BeginCheckoutRequest.newBuilder()
                .setAdmission(admission(ada))
                .setRequestId(newId())
                .setSaleId(saleId)
                .setBuyerId(ada)
                .addLines(Line.newBuilder().setSku(sku).setQuantity(2))
                .build();
        BeginCheckoutResponse hold = Failure.call(() -> checkout(Failure.DEADLINE).beginCheckout(begin));
        System.out.printf("held: 2 x %s for %s%n", sku, money(hold.getTotal()));
        // Keep this request, with its id, until its answer is known, beyond a restart too.
        PlaceOrderRequest place = PlaceOrderRequest.newBuilder()
                .setRequestId(newId())
                .setSaleId(saleId)
                .setBuyerId(ada)
                .setHoldId(hold.getHoldId())
                .setContact(contact)
                .setPaymentMethod("pm_card_visa")
                .build();
        Order adas = place(place);
        System.out.println("placed");
        if (!place(place).getOrderId().equals(adas.getOrderId())) {
            throw new IllegalStateException("the same request made two orders");
        }
        System.out.println("sent again: the same order");

        System.out.println("# The same request id for something else");
        refused(place.toBuilder().setContact(contact.toBuilder().setEmail("eve@example.com")).build(), "REQUEST_ID_REUSED");

        System.out.println("# A request that makes no sense");
        refused(place.toBuilder().setContact(contact.toBuilder().setEmail("not an address")).build(), "ARGUMENT_INVALID");

        System.out.println("# Bob wants two, and there is one");
        PlaceOrderRequest want = PlaceOrderRequest.newBuilder()
                .setAdmission(admission(bob))
                .setRequestId(newId())
                .setSaleId(saleId)
                .setBuyerId(bob)
                .addLines(Line.newBuilder().setSku(sku).setQuantity(2))
                .setContact(contact)
                .setPaymentMethod("pm_card_visa")
                .build();
        long left = Long.parseLong(refused(want, "SOLD_OUT").metadata.get("available"));
        System.out.println("left: " + left);
        // A refusal takes nothing, neither units nor the admission. This is another wish and gets an id of its own.
        Order bobs = place(want.toBuilder()
                .setRequestId(newId())
                .setLines(0, Line.newBuilder().setSku(sku).setQuantity(left))
                .build());
        System.out.println("placed");

        for (Map.Entry<String, Order> each : List.of(Map.entry("Ada", adas), Map.entry("Bob", bobs))) {
            System.out.printf("# %s's order%n", each.getKey());
            Order end = follow(each.getValue().getOrderId(), each.getValue().getBuyerId());
            if (end.getState() != OrderState.ORDER_STATE_CONFIRMED) {
                throw new IllegalStateException("the order ended as " + state(end) + ": " + end.getEndReason());
            }
            System.out.println("paid: " + money(end.getTotal()));
        }
    }

    /** Says who calls, in every call of a channel. */
    private static ClientInterceptor withKey(String key) {
        Metadata headers = new Metadata();
        headers.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer " + key.strip());
        return MetadataUtils.newAttachHeadersInterceptor(headers);
    }

    public static void main(String[] args) throws InterruptedException, IOException {
        if (args.length != 4) {
            System.err.println("usage: Journey ADDRESS SALE_ID SKU KEY_FILE");
            System.exit(2);
        }
        // Across machines: without usePlaintext. One channel for the whole program: it pools connections.
        ManagedChannel channel =
                ManagedChannelBuilder.forTarget(args[0].replaceFirst("^http://", ""))
                        .intercept(withKey(Files.readString(Path.of(args[3]))))
                        .usePlaintext()
                        .build();
        int code = 0;
        try {
            new Journey(channel, args[1]).journey(args[2]);
        } catch (Failure failure) {
            System.err.println("this was not to be refused:");
            tell(failure);
            System.err.println(failure.getMessage());
            code = 1;
        } catch (IllegalStateException wrong) {
            System.err.println(wrong.getMessage());
            code = 1;
        } finally {
            channel.shutdownNow().awaitTermination(5, TimeUnit.SECONDS);
        }
        System.exit(code);
    }
}
