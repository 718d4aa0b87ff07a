package basalt.server;

import static basalt.server.Manifests.at;
import static basalt.server.Manifests.list;
import static basalt.server.Manifests.map;
import static basalt.server.Manifests.only;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** The manifests, and that faults planted in them are found. */
class ManifestsTest {
    @BeforeAll
    static void requireKubectl() {
        assumeTrue(
                Manifests.kubectl().isPresent(),
                "no kubectl on the path, nor -Dkubectl=FILE: the manifests are not checked");
    }

    static List<String> overlays() throws IOException {
        return Manifests.overlays();
    }

    private static List<Map<String, Object>> render(String overlay) throws IOException, InterruptedException {
        return Manifests.render(Manifests.kubectl().orElse(Path.of("kubectl")), overlay);
    }

    @ParameterizedTest
    @MethodSource("overlays")
    void overlayIsRight(String overlay) throws IOException, InterruptedException {
        assertEquals(List.of(), ManifestRules.faults(render(overlay)));
    }

    /** A fault and what must be said of it. */
    private static Arguments fault(String said, Consumer<List<Map<String, Object>>> planter) {
        return Arguments.of(said, planter);
    }

    private static Map<String, Object> container(List<Map<String, Object>> objects) {
        return map(at(only(objects, "Deployment"), "spec.template.spec.containers.0"));
    }

    private static Map<String, Object> named(List<Map<String, Object>> objects, String kind, String name) {
        return objects.stream()
                .filter(object -> Manifests.kind(object).equals(kind)
                        && at(object, "metadata.name").equals(name))
                .findFirst()
                .orElseThrow();
    }

    private static void setVariable(List<Map<String, Object>> objects, String name, String value) {
        list(at(container(objects), "env"))
                .removeIf(variable -> at(variable, "name").equals(name));
        list(at(container(objects), "env")).add(Map.of("name", name, "value", value));
    }

    static Stream<Arguments> faults() {
        return Stream.of(
                fault(
                        "Deployment: ",
                        objects -> map(at(only(objects, "Deployment"), "spec")).put("replicaCount", 2)),
                fault("Deployment: ", objects -> container(objects).put("imagePullpolicy", "Always")),
                fault(
                        "Deployment: Kubernetes has no such kind",
                        objects -> only(objects, "Deployment").put("apiVersion", "apps/v7")),
                fault(
                        "HorizontalPodAutoscaler: ",
                        objects -> map(at(only(objects, "HorizontalPodAutoscaler"), "spec"))
                                .put("maxReplica", 8)),
                fault(
                        "InferencePool: no field targetPortNumber",
                        objects ->
                                map(at(only(objects, "InferencePool"), "spec")).put("targetPortNumber", 8080)),
                fault(
                        "selects nothing here",
                        objects -> map(at(named(objects, "Service", "basalt"), "spec.selector"))
                                .put("app.kubernetes.io/name", "bassalt")),
                fault(
                        "selects nothing here",
                        objects -> map(at(only(objects, "PodDisruptionBudget"), "spec.selector.matchLabels"))
                                .clear()),
                fault(
                        "Service: there is no port web",
                        objects -> map(at(named(objects, "Service", "basalt"), "spec.ports.0"))
                                .put("targetPort", "web")),
                fault(
                        "ServiceMonitor: there is no port metrics",
                        objects -> map(at(only(objects, "ServiceMonitor"), "spec.endpoints.0"))
                                .put("port", "metrics")),
                fault(
                        "port 8082 is not what BASALT_OPS_PORT says",
                        objects -> map(at(container(objects), "ports.1")).put("containerPort", 8082)),
                fault(
                        "which openapi.yaml does not have",
                        objects -> map(at(container(objects), "livenessProbe.httpGet"))
                                .put("path", "/healthz")),
                fault(
                        "Deployment: there is no port http2",
                        objects -> map(at(container(objects), "readinessProbe.httpGet"))
                                .put("port", "http2")),
                fault("BASALT_SLOT", objects -> setVariable(objects, "BASALT_SLOT", "32")),
                fault("BASALT_PORT", objects -> setVariable(objects, "BASALT_PORT", "eighty")),
                fault(
                        "s of grace end before a drain",
                        objects -> map(at(only(objects, "Deployment"), "spec.template.spec"))
                                .put("terminationGracePeriodSeconds", 60)),
                fault(
                        "runAsNonRoot must be true",
                        objects -> map(at(only(objects, "Deployment"), "spec.template.spec.securityContext"))
                                .put("runAsNonRoot", false)),
                fault(
                        "readOnlyRootFilesystem is missing",
                        objects ->
                                map(at(container(objects), "securityContext")).remove("readOnlyRootFilesystem")),
                fault(
                        "Deployment: its replicas are the autoscaler's to say",
                        objects -> map(at(only(objects, "Deployment"), "spec")).put("replicas", 2)),
                fault(
                        "PrometheusRule: BasaltDown counts the deadlines of clients",
                        objects -> map(at(only(objects, "PrometheusRule"), "spec.groups.0.rules.0"))
                                .put("expr", "sum(rate(basalt_http_responses_total{status=~\"5..\"}[5m])) > 0")),
                fault("resources are missing", objects -> container(objects).remove("resources")));
    }

    static Stream<Arguments> faultsOfSharedSessions() {
        return Stream.of(
                fault(
                        "Deployment: BASALT_REDIS_URL: there is no service basalt-session",
                        objects -> setVariable(objects, "BASALT_REDIS_URL", "redis://basalt-session:6379")),
                fault(
                        "Deployment: BASALT_REDIS_URL: the service basalt-sessions has no port 6380",
                        objects -> setVariable(objects, "BASALT_REDIS_URL", "redis://basalt-sessions:6380")),
                fault("BASALT_REDIS_URL", objects -> setVariable(objects, "BASALT_REDIS_URL", "basalt-sessions")),
                fault(
                        "NetworkPolicy: no egress to the pods of basalt-sessions",
                        objects -> list(at(named(objects, "NetworkPolicy", "basalt"), "spec.egress"))
                                .removeLast()),
                fault(
                        "Service: there is no port valkey",
                        objects -> map(at(named(objects, "Service", "basalt-sessions"), "spec.ports.0"))
                                .put("targetPort", "valkey")),
                fault(
                        "StatefulSet basalt-sessions: spec.securityContext.runAsNonRoot must be true",
                        objects -> map(at(only(objects, "StatefulSet"), "spec.template.spec.securityContext"))
                                .put("runAsNonRoot", false)),
                fault(
                        "StatefulSet: ",
                        objects -> map(at(only(objects, "StatefulSet"), "spec")).put("volumeClaims", List.of())));
    }

    @ParameterizedTest
    @MethodSource({"faults", "faultsOfSharedSessions"})
    void plantedFaultIsFound(String said, Consumer<List<Map<String, Object>>> planter)
            throws IOException, InterruptedException {
        var objects = new ArrayList<>(render("full"));

        planter.accept(objects);

        List<String> faults = ManifestRules.faults(objects);
        assertTrue(faults.stream().anyMatch(fault -> fault.contains(said)), faults::toString);
    }
}
