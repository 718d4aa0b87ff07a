import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

/** Asks a server for what most clients ask, so that its start-up cache learns the way there. */
final class Train {
    private Train() {}

    public static void main(String[] args) throws Exception {
        try (var client = HttpClient.newHttpClient()) {
            for (int i = 0; i < 3; i++) {
                post(client, args[0] + "/v1/completions", "{\"prompt\":\"Once upon a time\",\"max_tokens\":64,\"stream\":true}");
                post(client, args[0] + "/v1/completions", "{\"prompt\":\"Once upon a time\",\"max_tokens\":16,\"n\":2,\"logprobs\":2}");
                post(
                        client,
                        args[0] + "/v1/chat/completions",
                        "{\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}],\"max_tokens\":16,\"stream\":true}");
                for (String path : new String[] {"/v1/models", "/health/live", "/health/ready", "/metrics"}) {
                    check(client.send(HttpRequest.newBuilder(URI.create(args[0] + path)).build(), BODY));
                }
            }
        }
    }

    private static final HttpResponse.BodyHandler<String> BODY = HttpResponse.BodyHandlers.ofString();

    private static void post(HttpClient client, String uri, String json) throws Exception {
        check(client.send(
                HttpRequest.newBuilder(URI.create(uri))
                        .header("Content-Type", "application/json")
                        .POST(HttpRequest.BodyPublishers.ofString(json))
                        .build(),
                BODY));
    }

    private static void check(HttpResponse<String> response) {
        if (response.statusCode() != 200) {
            throw new IllegalStateException(response.uri() + " answers " + response.statusCode() + ": " + response.body());
        }
    }
}
