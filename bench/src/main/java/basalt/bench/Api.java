package basalt.bench;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.net.Socket;
import java.net.URI;
import java.nio.charset.StandardCharsets;

/** A server's API: each request has a connection of its own. */
record Api(URI server) {
    private static final ObjectMapper JSON = new ObjectMapper();

    /** Sends a request; its answer is read from the socket. */
    Socket open(String method, String path, byte[] body) throws IOException {
        String head = method + " " + path + " HTTP/1.1\r\nHost: " + server.getAuthority()
                + "\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: " + body.length
                + "\r\n\r\n";
        var socket = new Socket(server.getHost(), server.getPort() < 0 ? 80 : server.getPort());
        socket.setTcpNoDelay(true);
        socket.getOutputStream().write(head.getBytes(StandardCharsets.US_ASCII));
        socket.getOutputStream().write(body);
        return socket;
    }

    /** The body of an answer; any status but 200 is an error. */
    byte[] bytes(String method, String path, byte[] body) throws IOException {
        try (var socket = open(method, path, body)) {
            var response = new HttpResponse(socket.getInputStream());
            byte[] answer = response.restBytes();
            if (response.status() != 200) {
                String text = new String(answer, StandardCharsets.UTF_8);
                throw new IOException(method + " " + path + ": " + response.status() + " " + text.strip());
            }
            return answer;
        }
    }

    /** The same where both bodies are JSON; an empty one is none. */
    JsonNode json(String method, String path, String json) throws IOException {
        return JSON.readTree(bytes(method, path, json.getBytes(StandardCharsets.UTF_8)));
    }

    /** Tokens that the server's model knows. */
    int vocabSize() throws IOException {
        return json("GET", "/v1/models", "")
                .path("data")
                .path(0)
                .path("meta")
                .path("n_vocab")
                .asInt();
    }
}
