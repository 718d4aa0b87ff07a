package basalt.server.http;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Optional;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class PathFilterTest {
    @ParameterizedTest
    @ValueSource(
            strings = {
                "/",
                "*",
                "/health/ready",
                "/openapi.yaml",
                "/v1/models/",
                "/v1/models/org/name-1.5",
                "/v1/models/org%2Fname",
                "/v1/models/..name../.name",
                "/v1/models/a%3Bb%20c",
                "/v1/sessions/sess_%30",
                "/v1/streams/stream_0:1",
                "http://host:8080",
                "HTTPS://host/v1/models"
            })
    void pathThatHasOneMeaningPasses(String target) {
        assertEquals(Optional.empty(), PathFilter.fault(target));
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "/v1/..;/metrics",
                "/v1/models;a=b",
                ";/health",
                "/v1/../metrics",
                "/v1/..",
                "/./health",
                "/v1/models/.",
                "/v1/%2e%2E/metrics",
                "/v1/.%2e/metrics",
                "/v1/models/%2e%2e%2f%2e%2e%2fmetrics",
                "/v1/models/org%2F..",
                "//v1/models",
                "/v1//models",
                "/v1/models//",
                "/v1/models/%2Fname",
                "/%2Fmetrics",
                "/v1%2fmodels",
                "/v1/sessions%2Fsess_0",
                "/v1/..\\metrics",
                "/v1/..%5cmetrics",
                "%2Fmetrics",
                "metrics",
                "",
                "http:/metrics",
                "http:///metrics",
                "http://host//metrics",
                "http://host/v1/../metrics",
                "ftp://host/metrics"
            })
    void pathThatAProxyMayReadDifferentlyIsRefused(String target) {
        assertTrue(PathFilter.fault(target).isPresent());
    }
}
