package basalt.server.hub;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.net.InetSocketAddress;
import java.net.Proxy;
import java.net.URI;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class HubProxiesTest {
    private static final URI HUB = URI.create("https://hub.example/api");

    private static Optional<HubProxy> proxy(Map<String, String> environment, String uri) {
        return HubProxies.of(environment).proxy(URI.create(uri));
    }

    private static Optional<HubProxy> through(String host, int port) {
        return Optional.of(new HubProxy(host, port, "", ""));
    }

    @Test
    void withoutVariablesTheVirtualMachineDecides() {
        assertEquals(HubProxies.NONE, HubProxies.of(Map.of("HTTPS_PROXY", " ")));
        assertEquals(Optional.empty(), HubProxies.NONE.proxy(HUB));
        assertEquals(Optional.empty(), proxy(Map.of("HTTP_PROXY", "http://p:1"), "https://hub.example"));
    }

    @ParameterizedTest
    @CsvSource({
        "http://p.example:3128,        p.example,    3128",
        "http://p.example,             p.example,    80",
        "p.example:3128,               p.example,    3128",
        "HTTP://p.example:3128,        p.example,    3128",
        "' http://p.example:3128/ ',   p.example,    3128",
        "http://of_containers_1:3128,  of_containers_1, 3128",
        "http://[::1]:8080,            ::1,          8080"
    })
    void proxyIsThatOfTheVariable(String text, String host, int port) {
        var proxy = HubProxies.of(Map.of("HTTPS_PROXY", text)).proxy(HUB);

        assertEquals(through(host, port), proxy);
        assertEquals(
                Optional.of(new Proxy(Proxy.Type.HTTP, InetSocketAddress.createUnresolved(host, port))),
                proxy.map(HubProxy::proxy));
    }

    @ParameterizedTest
    @CsvSource({
        "http://anna@p:1,             anna,   ''",
        "http://anna:@p:1,            anna,   ''",
        "http://anna:geheim@p:1,      anna,   geheim",
        "anna:geheim@p:1,             anna,   geheim",
        "http://an%20na:s%40f:e@p:1,  an na,  s@f:e",
        "http://anna:s@f+e@p:1,       anna,   s@f+e",
        "http://office\\anna:x@p:1,  office\\anna, x"
    })
    void proxyIsToldWhoAsks(String text, String user, String password) {
        var proxies = HubProxies.of(Map.of("HTTPS_PROXY", text));

        assertEquals(Optional.of(new HubProxy("p", 1, user, password)), proxies.proxy(HUB));
    }

    @Test
    void textsShowNoPassword() {
        var proxies = HubProxies.of(Map.of("HTTPS_PROXY", "http://anna:geheim@p:1", "HTTP_PROXY", "anna:geheim@p"));

        assertFalse(proxies.toString().contains("geheim"), proxies.toString());
        assertEquals(Optional.of("p:1"), proxies.proxy(HUB).map(HubProxy::toString));
        assertEquals("[::1]:1", new HubProxy("::1", 1, "anna", "geheim").toString());
    }

    @Test
    void whatIsWrongWithAProxyThatIsNotNeededIsNotSaid() {
        var environment = Map.of(
                "HTTPS_PROXY", "http://p:1", "ALL_PROXY", "socks5://p:1", "HTTP_PROXY", "", "NO_PROXY", "direct");

        assertEquals(through("p", 1), proxy(environment, "https://hub.example"));
        assertEquals(Optional.empty(), proxy(environment, "http://direct"));
        assertThrows(HubException.class, () -> proxy(environment, "http://hub.example"));
    }

    @Test
    void whatIsEmptyIsAsIfItWereNotSet() {
        var environment =
                Map.of("https_proxy", "", "HTTPS_PROXY", "http://p:1", "no_proxy", "", "NO_PROXY", "internal.example");

        assertEquals(through("p", 1), proxy(environment, "https://hub.example"));
        assertEquals(Optional.empty(), proxy(environment, "https://internal.example"));
    }

    @Test
    void lowerCaseIsStrongerAndTheSchemesOwnToo() {
        var environment =
                Map.of("ALL_PROXY", "http://all:1", "HTTPS_PROXY", "http://upper:1", "https_proxy", "http://lower:1");

        assertEquals(through("lower", 1), proxy(environment, "https://hub.example"));
        assertEquals(through("all", 1), proxy(environment, "http://hub.example"));
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "hub.example",
                "other, HUB.EXAMPLE",
                ".example",
                "*.example",
                "example",
                "hub.example:443",
                "*",
                "10.0.0.0/8 hub.example"
            })
    void namesOfNoProxyAreAskedDirectly(String direct) {
        var proxies = HubProxies.of(Map.of("HTTPS_PROXY", "http://p:1", "NO_PROXY", direct));

        assertEquals(Optional.empty(), proxies.proxy(HUB));
    }

    @ParameterizedTest
    @ValueSource(
            strings = {"", "ample", "hub", "a.hub.example", "hub.example:80", "10.0.0.0/8", "/", "x/8", "10.0.0.0/x"})
    void otherNamesAreNot(String direct) {
        var proxies = HubProxies.of(Map.of("HTTPS_PROXY", "http://p:1", "NO_PROXY", direct));

        assertEquals(through("p", 1), proxies.proxy(HUB));
    }

    @ParameterizedTest
    @CsvSource({
        "10.0.0.0/8,      10.1.2.3,      true",
        "10.0.0.0/8,      11.1.2.3,      false",
        "10.1.2.0/23,     10.1.3.9,      true",
        "10.1.2.0/23,     10.1.4.9,      false",
        "10.1.2.3,        10.1.2.3,      true",
        "10.1.2.3:8443,   10.1.2.3:8443, true",
        "10.1.2.3:8443,   10.1.2.3,      false",
        "2.3,             10.1.2.3,      false",
        "0.0.0.0/0,       10.1.2.3,      true",
        "10.0.0.0/33,     10.1.2.3,      false",
        "10.0.0.0/-1,     10.1.2.3,      false",
        "fd00::/8,        [fd12::1],     true",
        "fd00::/8,        10.1.2.3,      false",
        "fd12:0::1,       [fd12::1],     true",
        "[fd12::1]:444,   [fd12::1]:444, true",
        "[fd12::1]:444,   [fd12::1],     false"
    })
    void addressesOfNoProxyAreAskedDirectly(String direct, String host, boolean isDirect) {
        Optional<HubProxy> proxy =
                proxy(Map.of("HTTPS_PROXY", "http://p:1", "no_proxy", direct), "https://" + host + "/api");

        assertEquals(isDirect ? Optional.empty() : through("p", 1), proxy);
    }

    @ParameterizedTest
    @ValueSource(strings = {"http://localhost:1", "http://127.0.0.1:1", "http://127.8.8.8", "http://[::1]:1"})
    void thisMachineIsAskedDirectly(String uri) {
        assertEquals(Optional.empty(), proxy(Map.of("ALL_PROXY", "http://p:1"), uri));
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "https://p:1",
                "socks5://p:1",
                "http://",
                "http://u:geheim#1@p:1",
                "http://u:gehe%im@p:1",
                "http://u:1/geheim@p:1",
                "http://u:1?geheim@p:1",
                "http://p:99999",
                "http://p:1/path",
                "p p"
            })
    void whatIsNoProxyIsRefusedWithoutShowingIt(String text) {
        String message = String.valueOf(assertThrows(
                        HubException.class, () -> proxy(Map.of("https_proxy", text), HUB.toString()))
                .getMessage());

        assertTrue(message.startsWith("https_proxy must be like"), message);
        assertFalse(message.contains("geheim"), message);
    }
}
