package basalt.engine.text;

import basalt.engine.EngineException.InvalidCheckpoint;
import basalt.engine.model.ModelConfig;
import com.knuddels.jtokkit.Encodings;
import com.knuddels.jtokkit.api.Encoding;
import com.knuddels.jtokkit.api.EncodingType;
import com.knuddels.jtokkit.api.IntArrayList;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;

/** Finds the tokenizer of a checkpoint. */
public final class Tokenizers {
    private static final int GPT2_VOCAB = 50_257;
    private static final int GPT2_END_OF_TEXT = 50_256;

    private Tokenizers() {}

    /**
     * The tokenizer of {@code tokenizer.json}, else that of GPT-2 where the model has GPT-2's vocabulary of 50,257
     * ids, else none: such a model is served by token ids alone.
     *
     * @param directory of the checkpoint
     * @throws InvalidCheckpoint if {@code tokenizer.json} is damaged or asks for what cannot be done exactly
     */
    public static Optional<Tokenizer> open(Path directory, ModelConfig config) {
        Path file = directory.resolve("tokenizer.json");
        if (Files.exists(file)) {
            return Optional.of(TokenizerFile.read(file, config.vocabSize()));
        }
        return config.vocabSize() == GPT2_VOCAB ? Optional.of(gpt2()) : Optional.empty();
    }

    private static Tokenizer gpt2() {
        Encoding encoding = Encodings.newLazyEncodingRegistry().getEncoding(EncodingType.R50K_BASE);
        var idOfRank = new int[GPT2_END_OF_TEXT]; // GPT-2's ids are the ranks
        var bytesOfId = new byte[GPT2_VOCAB][];
        for (int id = 0; id < GPT2_END_OF_TEXT; id++) {
            var one = new IntArrayList(1);
            one.add(id);
            idOfRank[id] = id;
            bytesOfId[id] = encoding.decodeBytes(one);
        }
        bytesOfId[GPT2_END_OF_TEXT] = new byte[0];
        return new BytePairTokenizer(encoding, idOfRank, bytesOfId, Map.of("<|endoftext|>", GPT2_END_OF_TEXT));
    }
}
