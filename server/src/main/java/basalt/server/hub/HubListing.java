package basalt.server.hub;

import basalt.engine.EngineException.InvalidCheckpoint;
import basalt.engine.json.JsonFields;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * The files of a model at one commit, as the hub's {@code /api/models/ID/revision/REVISION?blobs=true} tells them: only
 * those that a checkpoint may have, so that whatever else the hub says has no effect.
 */
record HubListing(String commit, List<HubFile> files) {
    private static final String CONFIG = "config.json";
    private static final String INDEX = "model.safetensors.index.json";
    private static final String SAFETENSORS = "model.safetensors";
    private static final String TORCH = "pytorch_model.bin";
    private static final Set<String> BESIDE_WEIGHTS =
            Set.of("tokenizer.json", "tokenizer_config.json", "chat_template.jinja");
    private static final Pattern SHARD = Pattern.compile("model-([0-9]{1,9})-of-([0-9]{1,9})\\.safetensors");
    private static final int FILES_MAX = 10_000;
    /** Of one file, so that the sum of all is a number. */
    private static final long BYTES_MAX = 1L << 46;

    /**
     * Reads the hub's answer.
     *
     * @throws HubException if it is no such listing
     */
    static HubListing parse(HubId id, byte[] json) {
        try {
            var answer = JsonFields.parse("the hub's answer about " + id, json);
            String commit = answer.text("sha").orElse("");
            if (!HubId.isCommit(commit)) {
                throw answer.wrong("sha", "must be a commit of 40 hex digits");
            }
            List<JsonFields> siblings = answer.objects("siblings");
            if (siblings.size() > FILES_MAX) {
                throw answer.wrong("siblings", "has more than " + FILES_MAX + " files");
            }
            var files = new ArrayList<HubFile>();
            for (JsonFields sibling : siblings) {
                String name = sibling.text("rfilename").orElse("");
                if (isServed(name)) {
                    files.add(file(name, sibling));
                }
            }
            return new HubListing(commit, files);
        } catch (InvalidCheckpoint e) {
            throw new HubException(e.getMessage() + "; is what hub-endpoint or HF_ENDPOINT names a hub?", e);
        }
    }

    private static boolean isServed(String name) {
        return name.equals(CONFIG)
                || name.equals(INDEX)
                || name.equals(SAFETENSORS)
                || name.equals(TORCH)
                || BESIDE_WEIGHTS.contains(name)
                || SHARD.matcher(name).matches();
    }

    /** Whether so named files are a checkpoint: others who share the cache may have fetched a part of one. */
    static boolean isCheckpoint(Set<String> names) {
        return names.contains(CONFIG)
                && (names.contains(SAFETENSORS)
                        || names.contains(TORCH)
                        || (names.contains(INDEX) && hasAllShards(names)));
    }

    private static boolean hasAllShards(Set<String> names) {
        List<Matcher> shards =
                names.stream().map(SHARD::matcher).filter(Matcher::matches).toList();
        return !shards.isEmpty()
                && shards.stream().allMatch(shard -> Integer.parseInt(shard.group(2)) == shards.size());
    }

    private static HubFile file(String name, JsonFields sibling) {
        Optional<JsonFields> large = sibling.object("lfs");
        String hash = large.isPresent()
                ? large.get().text("sha256").orElse("")
                : sibling.text("blobId").orElse("");
        if (!HubFile.isHash(hash)) {
            throw sibling.wrong("blobId", "of " + name + " must be a hash in hex");
        }
        return new HubFile(name, large.orElse(sibling).integer("size", 0, BYTES_MAX), hash);
    }

    /**
     * The files that serving needs: the weights in the form that the engine prefers, and what explains them. Ends with
     * the configuration, so that a folder that has it has all.
     *
     * @throws HubException if the model has no configuration or no weights
     */
    List<HubFile> needed(HubId id) {
        var needed = new ArrayList<HubFile>(weights(id));
        for (HubFile file : files) {
            if (BESIDE_WEIGHTS.contains(file.name())) {
                needed.add(file);
            }
        }
        needed.add(file(CONFIG).orElseThrow(() -> new HubException("model " + id + " has no " + CONFIG)));
        return needed;
    }

    private List<HubFile> weights(HubId id) {
        Optional<HubFile> whole = file(SAFETENSORS);
        if (whole.isPresent()) {
            return List.of(whole.get());
        }
        if (file(INDEX).isPresent()) {
            return files.stream()
                    .filter(file -> file.name().equals(INDEX)
                            || SHARD.matcher(file.name()).matches())
                    .toList();
        }
        return List.of(file(TORCH)
                .orElseThrow(() -> new HubException("model " + id + " has no weights that can be served: none of "
                        + SAFETENSORS + ", " + INDEX + " and " + TORCH)));
    }

    private Optional<HubFile> file(String name) {
        return files.stream().filter(file -> file.name().equals(name)).findFirst();
    }
}
