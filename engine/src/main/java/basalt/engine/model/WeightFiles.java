package basalt.engine.model;

import basalt.engine.EngineException.InvalidCheckpoint;
import basalt.engine.json.JsonFields;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.Map;

/** Finds the weights of a checkpoint directory, in the order of {@link #map}. */
final class WeightFiles {
    /** All tensors in one file. */
    static final String SAFETENSORS = "model.safetensors";
    /** Names the file of each tensor. */
    static final String SAFETENSORS_INDEX = "model.safetensors.index.json";
    /** As torch saves it. */
    static final String TORCH = "pytorch_model.bin";

    private static final long INDEX_BYTES_MAX = 8 << 20;
    private static final int SHARDS_MAX = 1024;

    private WeightFiles() {}

    /**
     * Maps {@value #SAFETENSORS}, else the files of {@value #SAFETENSORS_INDEX}, else {@value #TORCH}.
     *
     * @param arena owns the mappings
     * @throws InvalidCheckpoint if there is none of them or what is there cannot be read
     */
    static TensorSet map(Path directory, Arena arena) {
        if (Files.exists(directory.resolve(SAFETENSORS))) {
            return SafetensorsFile.map(directory.resolve(SAFETENSORS), arena);
        }
        if (Files.exists(directory.resolve(SAFETENSORS_INDEX))) {
            return mapShards(directory, arena);
        }
        if (Files.exists(directory.resolve(TORCH))) {
            return TorchZipFile.map(directory.resolve(TORCH), arena);
        }
        throw new InvalidCheckpoint(
                directory + ": has no weights: none of " + SAFETENSORS + ", " + SAFETENSORS_INDEX + " and " + TORCH);
    }

    private static TensorSet mapShards(Path directory, Arena arena) {
        var index = JsonFields.read(directory.resolve(SAFETENSORS_INDEX), INDEX_BYTES_MAX);
        var files = index.object("weight_map").orElseThrow(() -> index.wrong("weight_map", "is missing"));
        Map<String, TensorSet> shards = new HashMap<>();
        var all = new TensorSet(new LinkedHashMap<>(), new LinkedHashMap<>());
        for (String name : files.names()) {
            String file = files.text(name).orElseThrow(() -> files.wrong(name, "is missing"));
            checkShardName(files, name, file);
            TensorSet shard = shards.get(file);
            if (shard == null) {
                if (shards.size() == SHARDS_MAX) {
                    throw index.wrong("weight_map", "names more than " + SHARDS_MAX + " files");
                }
                shard = SafetensorsFile.map(directory.resolve(file), arena);
                shards.put(file, shard);
            }
            String otherType = shard.otherTypes().get(name);
            if (otherType != null) {
                all.otherTypes().put(name, otherType);
            } else {
                all.tensors().put(name, shard.tensor(name).orElseThrow(() -> files.wrong(name, "is not in " + file)));
            }
        }
        checkAllIndexed(shards, all);
        return all;
    }

    private static void checkShardName(JsonFields files, String tensor, String file) {
        boolean isPlain =
                file.endsWith(".safetensors") && file.chars().noneMatch(c -> c == '/' || c == '\\' || c < ' ');
        if (!isPlain) {
            throw files.wrong(tensor, "= " + file + " must name a .safetensors file of the same directory");
        }
    }

    private static void checkAllIndexed(Map<String, TensorSet> shards, TensorSet all) {
        shards.forEach((file, shard) -> shard.tensors().forEach((name, tensor) -> {
            if (!tensor.equals(all.tensors().get(name))) {
                throw new InvalidCheckpoint(
                        file + ": tensor " + name + " is not assigned to this file by " + SAFETENSORS_INDEX);
            }
        }));
    }
}
