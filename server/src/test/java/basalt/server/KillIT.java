package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.net.InetAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A server in a process of its own that is killed, and another one after it. */
class KillIT {
    @TempDir
    private Path folder;

    private ServerProcess start() throws IOException {
        return ServerProcess.start(
                folder.resolve("log"),
                "--backend",
                "cpu",
                "--slots",
                "2",
                "--sessions-dir",
                folder.resolve("sessions").toString());
    }

    private static String turn(String start, int maxTokens) {
        return "{" + start + ",\"max_tokens\":" + maxTokens
                + ",\"temperature\":0,\"ignore_eos\":true,\"return_token_ids\":true}";
    }

    private static List<Integer> ids(JsonNode answer, String field) {
        var ids = new ArrayList<Integer>();
        answer.path("choices").path(0).path(field).forEach(id -> ids.add(id.asInt()));
        return ids;
    }

    @Test
    void whatWasCommittedIsThereAfterAKillAndWhatWasNotIsNot() throws Exception {
        ServerProcess server = start();
        try {
            String id = server.send("POST", "/v1/sessions", "{}").path("id").asText();
            String session = "\"session\":\"" + id + "\"";
            var first = server.send("POST", "/v1/completions", turn(session + ",\"prompt\":\"The old\"", 30));
            String fork = server.send("POST", "/v1/sessions/" + id + "/fork", "{}")
                    .path("data")
                    .path(0)
                    .path("id")
                    .asText();
            var history = ids(first, "prompt_token_ids");
            history.addAll(ids(first, "token_ids"));
            try (var socket = new Socket(InetAddress.getLoopbackAddress(), server.port())) {
                String endless = turn(session + ",\"prompt\":\" dog\",\"stream\":true", 1_000_000);
                socket.getOutputStream().write(TestServer.wire(endless).getBytes(StandardCharsets.UTF_8));
                socket.getInputStream().readNBytes(2_000); // in the middle of the answer

                server.kill();
            }

            server = start();
            assertEquals(
                    history.size(),
                    server.send("GET", "/v1/sessions/" + id, "").path("tokens").asInt());
            var next = ids(server.send("POST", "/v1/completions", turn(session, 20)), "token_ids");
            assertEquals(
                    ids(server.send("POST", "/v1/completions", turn("\"prompt\":" + history, 20)), "token_ids"), next);
            var branch = server.send("POST", "/v1/completions", turn("\"session\":\"" + fork + "\"", 20));
            assertEquals(next, ids(branch, "token_ids"));
            history.addAll(next);

            server.terminate(); // right after a turn
            assertEquals(0, server.awaitExit());
            server = start();
            assertEquals(
                    history.size(),
                    server.send("GET", "/v1/sessions/" + id, "").path("tokens").asInt());
            assertEquals(
                    "archive",
                    server.send("GET", "/v1/sessions/" + id, "").path("tier").asText());
            var last = server.send("POST", "/v1/completions", turn(session, 20));
            assertEquals(
                    ids(server.send("POST", "/v1/completions", turn("\"prompt\":" + history, 20)), "token_ids"),
                    ids(last, "token_ids"));
            assertEquals(
                    history.size() - 1,
                    last.path("usage")
                            .path("prompt_tokens_details")
                            .path("cached_tokens")
                            .asInt());
        } finally {
            server.close();
        }
    }
}
