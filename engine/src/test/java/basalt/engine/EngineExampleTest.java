package basalt.engine;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.backend.cpu.CpuBackend;
import basalt.engine.model.Checkpoint;
import basalt.engine.text.Tokenizers;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;

/** The example of {@link Engine}'s Javadoc. */
class EngineExampleTest {
    private static final Path MODEL = Path.of("..", "models", "based-10m");

    @Test
    void streamsEnglishFromTheBundledModel() throws InterruptedException {
        try (var checkpoint = Checkpoint.open(MODEL)) {
            var model = checkpoint.config();
            var tokenizer = Tokenizers.open(MODEL, model).orElseThrow();
            var backend = CpuBackend.open(model, checkpoint.weights(), 4, 4, 128, 2);
            var bytes = new ByteArrayOutputStream();
            var reason = FinishReason.ERROR;

            try (var engine = Engine.start(model, Optional.of(tokenizer), List.of(backend), EngineConfig.DEFAULT);
                    var generation = engine.submit(GenerationRequest.of(tokenizer.encode("Once upon a time"), 20))) {
                for (var event = generation.next(); event.isPresent(); event = generation.next()) {
                    switch (event.get()) {
                        case TokenEvent.Sampled sampled -> bytes.writeBytes(tokenizer.bytes(sampled.token()));
                        case TokenEvent.Scored scored -> {}
                        case TokenEvent.Finished finished -> reason = finished.reason();
                    }
                }
            }

            String text = bytes.toString(StandardCharsets.UTF_8);
            assertEquals(FinishReason.LENGTH, reason);
            assertTrue(text.matches("[ -~\\n]{30,}"), text);
            assertTrue(text.contains(" the ") || text.contains(" a "), text);
        }
    }
}
