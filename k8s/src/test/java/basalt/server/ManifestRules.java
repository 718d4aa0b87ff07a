package basalt.server;

import static basalt.server.Manifests.at;
import static basalt.server.Manifests.kind;
import static basalt.server.Manifests.list;
import static basalt.server.Manifests.map;
import static basalt.server.Manifests.only;

import com.google.gson.Gson;
import com.google.gson.JsonElement;
import io.kubernetes.client.util.ModelMapper;
import io.kubernetes.client.util.generic.dynamic.DynamicKubernetesObject;
import java.io.IOException;
import java.lang.reflect.InvocationTargetException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Pattern;

/** What must hold of the objects of an overlay; says all that does not. */
final class ManifestRules {
    private static final List<String> WORKLOADS = List.of("Deployment", "StatefulSet");
    private static final Pattern CONTRACT_PATH = Pattern.compile("^  (/[^:]*):$", Pattern.MULTILINE);
    private static final Pattern STATUSES = Pattern.compile("[{,]\\s*status=~?\"([^\"]*)\"");
    private static final String DEADLINE_STATUS = "504";
    /** Fields of the kinds that Kubernetes itself does not have, as far as they are used here. */
    private static final Map<String, Set<String>> CUSTOM_FIELDS = Map.of(
            "ServiceMonitor",
            Set.of("selector", "matchLabels", "app.kubernetes.io/name", "endpoints", "port", "path", "interval"),
            "PrometheusRule",
            Set.of("groups", "name", "rules", "alert", "expr", "for", "labels", "severity", "annotations", "summary"),
            "InferencePool",
            Set.of(
                    "selector",
                    "matchLabels",
                    "app.kubernetes.io/name",
                    "targetPorts",
                    "number",
                    "endpointPickerRef",
                    "name",
                    "port",
                    "failureMode"),
            "HTTPRoute",
            Set.of(
                    "parentRefs",
                    "name",
                    "rules",
                    "matches",
                    "path",
                    "type",
                    "value",
                    "backendRefs",
                    "group",
                    "kind",
                    "sessionPersistence",
                    "sessionName",
                    "timeouts",
                    "request"));

    private final List<Map<String, Object>> objects;
    private final Map<String, Object> pod;
    private final Map<String, Object> container;
    /** The pod of each workload, by its kind and name. */
    private final Map<String, Map<String, Object>> pods = new TreeMap<>();

    private final List<String> faults = new ArrayList<>();

    private ManifestRules(List<Map<String, Object>> objects) {
        this.objects = objects;
        pod = map(at(only(objects, "Deployment"), "spec.template"));
        container = map(at(pod, "spec.containers.0"));
        for (Map<String, Object> object : objects) {
            if (WORKLOADS.contains(kind(object))) {
                pods.put(kind(object) + " " + name(object), map(at(object, "spec.template")));
            }
        }
    }

    private static String name(Map<String, Object> object) {
        return String.valueOf(at(object, "metadata.name"));
    }

    /** All faults; none if the objects are right. */
    static List<String> faults(List<Map<String, Object>> objects) throws IOException {
        var rules = new ManifestRules(objects);
        objects.forEach(rules::checkFields);
        objects.forEach(rules::checkSelector);
        rules.checkPorts();
        rules.checkProbes();
        rules.checkConfiguration();
        rules.checkSessionStore();
        rules.checkReplicas();
        rules.checkAlerts();
        rules.pods.forEach(rules::checkSecurity);
        return rules.faults;
    }

    private void fault(String text) {
        faults.add(text);
    }

    /** Against Kubernetes' own types, which refuse fields that they do not have. */
    private void checkFields(Map<String, Object> object) {
        String kind = kind(object);
        if (CUSTOM_FIELDS.containsKey(kind)) {
            var unknown = new TreeSet<String>();
            collectNames(at(object, "spec"), unknown);
            unknown.removeAll(CUSTOM_FIELDS.get(kind));
            unknown.forEach(name -> fault(kind + ": no field " + name));
            return;
        }
        String[] groupVersion = String.valueOf(object.get("apiVersion")).split("/", -1);
        String group = groupVersion.length == 2 ? groupVersion[0] : "";
        Class<?> type = ModelMapper.getApiTypeClass(group, groupVersion[groupVersion.length - 1], kind);
        if (type == null || type == DynamicKubernetesObject.class) {
            fault(kind + ": Kubernetes has no such kind in " + object.get("apiVersion"));
            return;
        }
        try {
            type.getMethod("validateJsonElement", JsonElement.class).invoke(null, new Gson().toJsonTree(object));
        } catch (InvocationTargetException e) {
            fault(kind + ": " + e.getCause());
        } catch (ReflectiveOperationException e) {
            throw new IllegalStateException(type + " cannot check itself", e);
        }
    }

    private static void collectNames(Object value, Set<String> names) {
        if (value instanceof Map<?, ?> fields) {
            fields.forEach((name, field) -> {
                names.add(String.valueOf(name));
                collectNames(field, names);
            });
        } else if (value instanceof List<?> items) {
            items.forEach(item -> collectNames(item, names));
        }
    }

    private void checkSelector(Map<String, Object> object) {
        String path = switch (kind(object)) {
            case "Deployment", "StatefulSet", "PodDisruptionBudget", "InferencePool" -> "spec.selector.matchLabels";
            case "NetworkPolicy" -> "spec.podSelector.matchLabels";
            case "Service" -> "spec.selector";
            case "ServiceMonitor" -> "spec.selector.matchLabels";
            default -> "";
        };
        if (path.isEmpty()) {
            return;
        }
        Map<String, Object> selector = map(at(object, path));
        boolean selects = kind(object).equals("ServiceMonitor")
                ? objects.stream().anyMatch(other -> kind(other).equals("Service") && isSelected(other, selector))
                : !selected(selector).isEmpty();
        if (!selects) {
            fault(kind(object) + ": " + selector + " selects nothing here");
        }
    }

    private static boolean isSelected(Map<String, Object> labelled, Map<String, Object> selector) {
        return !selector.isEmpty()
                && map(at(labelled, "metadata.labels")).entrySet().containsAll(selector.entrySet());
    }

    /** The pods that a selector selects. */
    private List<Map<String, Object>> selected(Map<String, Object> selector) {
        return pods.values().stream().filter(one -> isSelected(one, selector)).toList();
    }

    private static Set<Object> portNames(List<Map<String, Object>> pods) {
        var names = new HashSet<>();
        pods.forEach(pod -> list(at(pod, "spec.containers.0.ports")).forEach(port -> names.add(at(port, "name"))));
        return names;
    }

    private void checkPorts() {
        for (Map<String, Object> object : objects) {
            if (kind(object).equals("Service")) {
                Set<Object> names = portNames(selected(map(at(object, "spec.selector"))));
                list(at(object, "spec.ports")).forEach(port -> requirePort("Service", at(port, "targetPort"), names));
            } else if (kind(object).equals("NetworkPolicy")) {
                Set<Object> names = portNames(selected(map(at(object, "spec.podSelector.matchLabels"))));
                for (Object rule : list(at(object, "spec.ingress"))) {
                    list(at(rule, "ports")).forEach(port -> requirePort("NetworkPolicy", at(port, "port"), names));
                }
            }
        }
        var servicePorts = new HashSet<>();
        for (Map<String, Object> object : objects) {
            if (kind(object).equals("Service")) {
                list(at(object, "spec.ports")).forEach(port -> servicePorts.add(at(port, "name")));
            }
        }
        for (Map<String, Object> object : objects) {
            if (kind(object).equals("ServiceMonitor")) {
                for (Object endpoint : list(at(object, "spec.endpoints"))) {
                    requirePort("ServiceMonitor", at(endpoint, "port"), servicePorts);
                }
            }
        }
        Map<String, String> environment = environment();
        for (Object port : list(at(container, "ports"))) {
            String variable = at(port, "name").equals("ops") ? "BASALT_OPS_PORT" : "BASALT_PORT";
            String number = String.valueOf(at(port, "containerPort"));
            if (!number.equals(environment.get(variable))) {
                fault("Deployment: port " + number + " is not what " + variable + " says");
            }
        }
    }

    private void requirePort(String kind, Object port, Set<Object> names) {
        if (!names.contains(port)) {
            fault(kind + ": there is no port " + port);
        }
    }

    private void checkProbes() throws IOException {
        var matcher = CONTRACT_PATH.matcher(Files.readString(Path.of("..", "openapi.yaml")));
        var paths = new HashSet<String>();
        while (matcher.find()) {
            paths.add(matcher.group(1));
        }
        for (String probe : List.of("startupProbe", "readinessProbe", "livenessProbe")) {
            String path = String.valueOf(at(container, probe + ".httpGet.path"));
            if (!paths.contains(path)) {
                fault("Deployment: " + probe + " asks for " + path + ", which openapi.yaml does not have");
            }
            requirePort("Deployment", at(container, probe + ".httpGet.port"), portNames(List.of(pod)));
        }
    }

    private Map<String, String> environment() {
        var environment = new HashMap<String, String>();
        for (Object variable : list(at(container, "env"))) {
            Object value = map(variable).get("value");
            if (value != null) {
                environment.put(String.valueOf(map(variable).get("name")), String.valueOf(value));
            }
        }
        return environment;
    }

    /** The server itself reads the configuration. */
    private void checkConfiguration() {
        try {
            ServerConfig config = ServerConfig.load(List.of(), environment(), Path.of("/opt/basalt"));
            Duration drain =
                    config.lifecycle().drainDelay().plus(config.lifecycle().drainTimeout());
            int grace = (Integer) at(pod, "spec.terminationGracePeriodSeconds");
            if (drain.plusSeconds(2).compareTo(Duration.ofSeconds(grace)) > 0) {
                fault("Deployment: " + grace + " s of grace end before a drain of " + drain.toSeconds() + " s");
            }
        } catch (StartException e) {
            fault("Deployment: " + e.getMessage());
        }
    }

    /** That the Redis which pods are sent to is here, and that they may reach it. */
    private void checkSessionStore() {
        String url = environment().get("BASALT_REDIS_URL");
        if (url == null) {
            return;
        }
        URI address = URI.create(url);
        for (Map<String, Object> object : objects) {
            if (kind(object).equals("Service") && name(object).equals(address.getHost())) {
                boolean hasPort = list(at(object, "spec.ports")).stream()
                        .anyMatch(port -> at(port, "port").equals(address.getPort()));
                if (!hasPort) {
                    fault("Deployment: BASALT_REDIS_URL: the service " + name(object) + " has no port "
                            + address.getPort());
                }
                if (!mayReach(selected(map(at(object, "spec.selector"))))) {
                    fault("NetworkPolicy: no egress to the pods of " + name(object));
                }
                return;
            }
        }
        fault("Deployment: BASALT_REDIS_URL: there is no service " + address.getHost());
    }

    /** Whether the policy of the server's pods lets them reach others. */
    private boolean mayReach(List<Map<String, Object>> targets) {
        return objects.stream()
                .filter(object -> kind(object).equals("NetworkPolicy")
                        && isSelected(pod, map(at(object, "spec.podSelector.matchLabels"))))
                .flatMap(policy -> list(at(policy, "spec.egress")).stream())
                .filter(rule -> map(rule).containsKey("to"))
                .anyMatch(rule -> targets.containsAll(selected(map(at(rule, "to.0.podSelector.matchLabels"))))
                        && !selected(map(at(rule, "to.0.podSelector.matchLabels")))
                                .isEmpty());
    }

    /** What an autoscaler scales says no number itself, or each time it is applied would take pods away. */
    private void checkReplicas() {
        for (Map<String, Object> object : objects) {
            if (kind(object).equals("HorizontalPodAutoscaler")) {
                Object scaled = at(object, "spec.scaleTargetRef");
                objects.stream()
                        .filter(other -> kind(other).equals(at(scaled, "kind"))
                                && name(other).equals(at(scaled, "name")))
                        .filter(other -> map(at(other, "spec")).containsKey("replicas"))
                        .forEach(other -> fault(kind(other) + ": its replicas are the autoscaler's to say"));
            }
        }
    }

    /** A deadline is what its client chose, so its answers are no failure of the server. */
    private void checkAlerts() {
        for (Map<String, Object> object : objects) {
            if (kind(object).equals("PrometheusRule")) {
                for (Object rule : list(at(object, "spec.groups.0.rules"))) {
                    var statuses = STATUSES.matcher(String.valueOf(at(rule, "expr")));
                    while (statuses.find()) {
                        if (DEADLINE_STATUS.matches(statuses.group(1))) {
                            fault("PrometheusRule: " + at(rule, "alert") + " counts the deadlines of clients");
                        }
                    }
                }
            }
        }
    }

    /** Kubernetes' restricted pod security. */
    private void checkSecurity(String workload, Map<String, Object> pod) {
        Map<String, Object> wanted = Map.of(
                "spec.securityContext.runAsNonRoot", true,
                "spec.securityContext.seccompProfile.type", "RuntimeDefault",
                "spec.containers.0.securityContext.allowPrivilegeEscalation", false,
                "spec.containers.0.securityContext.readOnlyRootFilesystem", true,
                "spec.containers.0.securityContext.capabilities.drop", List.of("ALL"),
                "spec.automountServiceAccountToken", false);
        wanted.forEach((path, value) -> {
            try {
                if (!value.equals(at(pod, path))) {
                    fault(workload + ": " + path + " must be " + value);
                }
            } catch (IllegalStateException e) {
                fault(workload + ": " + path + " is missing");
            }
        });
        if (!map(at(pod, "spec.containers.0")).containsKey("resources")) {
            fault(workload + ": resources are missing");
        }
    }
}
