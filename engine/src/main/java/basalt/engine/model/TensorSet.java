package basalt.engine.model;

import basalt.engine.EngineException.InvalidCheckpoint;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;

/**
 * The tensors of a weight file.
 *
 * @param tensors by name, of the types that a model can use
 * @param otherTypes types of all other tensors by name, such as {@code I64}
 */
record TensorSet(Map<String, Tensor> tensors, Map<String, String> otherTypes) {

    /** The tensor of a name. */
    Optional<Tensor> tensor(String name) {
        return Optional.ofNullable(tensors.get(name));
    }

    /**
     * The same under the names of the model: one leading {@code model.} is dropped, and every tensor whose name
     * mentions {@code metrics}, as the authors' loader does, and the decay buffer, which nothing reads.
     *
     * @throws InvalidCheckpoint if two tensors get the same name
     */
    TensorSet withCleanNames() {
        var named = clean(tensors);
        named.replaceAll((name, tensor) -> tensor.named(name));
        return new TensorSet(named, clean(otherTypes));
    }

    private static <V> LinkedHashMap<String, V> clean(Map<String, V> values) {
        var cleaned = new LinkedHashMap<String, V>();
        values.forEach((name, value) -> {
            String cleanName = name.startsWith("model.") ? name.substring("model.".length()) : name;
            if (cleanName.contains("metrics") || cleanName.equals("transformer.decay.decay")) {
                return;
            }
            if (cleaned.put(cleanName, value) != null) {
                throw new InvalidCheckpoint("tensor " + cleanName + " is there twice, with and without 'model.'");
            }
        });
        return cleaned;
    }
}
