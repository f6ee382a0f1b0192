import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.util.Durations;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.Help;
import com.google.rpc.RetryInfo;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.Supplier;

/**
 * A refusal of flashsale, read from the status' details; and how a call is made that may fail.
 *
 * <p>Copy this class into your shop: nothing in it belongs to the journey.
 */
public final class Failure extends Exception {
    /** Every call gets a deadline. Without one, gRPC waits for ever. */
    public static final Duration DEADLINE = Duration.ofSeconds(5);

    private static final int ATTEMPTS = 6;
    /** The longest wait, even if a server asks for more. */
    private static final Duration LONGEST_WAIT = Duration.ofSeconds(30);

    /** A field at fault, with what is wrong with it. */
    public record Field(String path, String description) {}

    public final Status.Code code;
    /**
     * The field to branch on: one of flashsale.errors.v1.ErrorReason without its prefix; empty if another program refused, such
     * as a proxy. The message is for people and may be reworded at any time.
     */
    public final String reason;
    public final String domain;
    public final Map<String, String> metadata;
    /** Set where sending the same request again helps. */
    public final Optional<Duration> retryAfter;
    public final List<Field> fields;
    /** A page on this reason; may be empty. */
    public final String helpUrl;

    /** Reads google.rpc.Status from the trailer `grpc-status-details-bin`. */
    public Failure(StatusRuntimeException error) {
        super(Optional.ofNullable(error.getStatus().getDescription()).orElse(error.getStatus().getCode().name()), error);
        code = error.getStatus().getCode();
        com.google.rpc.Status status = StatusProto.fromThrowable(error);
        List<Any> details = status == null ? List.of() : status.getDetailsList();
        Optional<ErrorInfo> info = find(details, ErrorInfo.class);
        reason = info.map(ErrorInfo::getReason).orElse("");
        domain = info.map(ErrorInfo::getDomain).orElse("");
        metadata = new TreeMap<>(info.map(ErrorInfo::getMetadataMap).orElse(Map.of()));
        retryAfter = find(details, RetryInfo.class).map(retry -> Duration.ofMillis(Durations.toMillis(retry.getRetryDelay())));
        fields = find(details, BadRequest.class).stream()
                .flatMap(bad -> bad.getFieldViolationsList().stream())
                .map(each -> new Field(each.getField(), each.getDescription()))
                .toList();
        helpUrl = find(details, Help.class).stream()
                .flatMap(help -> help.getLinksList().stream())
                .map(Help.Link::getUrl)
                .findFirst()
                .orElse("");
    }

    /** Unknown kinds of detail are skipped: later versions may add some. */
    private static <T extends com.google.protobuf.Message> Optional<T> find(List<Any> details, Class<T> kind) {
        for (Any detail : details) {
            if (detail.is(kind)) {
                try {
                    return Optional.of(detail.unpack(kind));
                } catch (InvalidProtocolBufferException unreadable) {
                    return Optional.empty();
                }
            }
        }
        return Optional.empty();
    }

    /** How long to wait before the same request is sent again; empty if that cannot help. */
    public Optional<Duration> waitBeforeRetry(int attempt) {
        Duration wait;
        if (retryAfter.isPresent()) {
            wait = retryAfter.get();
        } else if (code == Status.Code.UNAVAILABLE || code == Status.Code.DEADLINE_EXCEEDED) {
            // The connection broke or no answer came in time: the call may or may not have had its effect.
            wait = Duration.ofMillis(200L << attempt);
        } else {
            return Optional.empty();
        }
        long millis = Math.min(wait.toMillis(), LONGEST_WAIT.toMillis());
        // Callers that were refused together should not come back together.
        return Optional.of(Duration.ofMillis(millis + ThreadLocalRandom.current().nextLong(millis / 4 + 1)));
    }

    /**
     * Makes a call and repeats it while its failure invites that.
     *
     * <p>The very same request has to be sent each time, so that its request_id makes all the attempts one: what was done once is
     * answered and not done again. Never make a new id for a retry.
     */
    public static <T> T call(Supplier<T> attemptOnce) throws Failure, InterruptedException {
        for (int attempt = 0; ; attempt++) {
            try {
                return attemptOnce.get();
            } catch (StatusRuntimeException error) {
                Failure failure = new Failure(error);
                Optional<Duration> wait = failure.waitBeforeRetry(attempt);
                if (wait.isEmpty() || attempt + 1 == ATTEMPTS) {
                    throw failure;
                }
                Thread.sleep(wait.get().toMillis());
            }
        }
    }
}
