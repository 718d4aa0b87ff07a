package basalt.server.http;

import java.io.IOException;
import java.io.InputStream;
import java.net.Socket;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.Principal;
import java.security.PrivateKey;
import java.security.Signature;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.spec.InvalidKeySpecException;
import java.security.spec.PKCS8EncodedKeySpec;
import java.time.Duration;
import java.util.Base64;
import java.util.List;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.net.ssl.KeyManager;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLEngine;
import javax.net.ssl.X509ExtendedKeyManager;
import org.jspecify.annotations.Nullable;

/**
 * A certificate chain and its key, in PEM files that are read again when they change: new connections then have the new
 * certificate, open ones go on. Files that cannot be read leave the old one in use.
 */
final class TlsFiles implements AutoCloseable {
    private static final System.Logger LOG = System.getLogger(TlsFiles.class.getName());
    private static final Duration LOOK_INTERVAL = Duration.ofMillis(500);
    private static final Pattern KEY =
            Pattern.compile("-----BEGIN PRIVATE KEY-----([A-Za-z0-9+/=\\s]+)-----END PRIVATE KEY-----");
    private static final List<String> KEY_ALGORITHMS = List.of("RSA", "EC", "Ed25519");
    private static final String ALIAS = "server";

    private final HttpConfig.TlsPaths paths;
    private final Thread thread;
    private volatile Identity identity;

    /** What a server shows, and when its files were written. */
    private record Identity(List<X509Certificate> chain, PrivateKey key, FileTime chainTime, FileTime keyTime) {}

    /**
     * Reads the files.
     *
     * @throws IOException if one cannot be read or is not what it should be
     */
    TlsFiles(HttpConfig.TlsPaths paths) throws IOException {
        this.paths = paths;
        identity = read();
        thread = Thread.ofPlatform().daemon().name("tls-files").start(this::watch);
    }

    /** Why the files cannot be used, if so. */
    static Optional<String> failure(HttpConfig.TlsPaths paths) {
        try {
            new TlsFiles(paths).close();
            return Optional.empty();
        } catch (NoSuchFileException e) {
            return Optional.of(e.getFile() + " does not exist");
        } catch (AccessDeniedException e) {
            return Optional.of(e.getFile() + " may not be read by this user");
        } catch (FileSystemException e) {
            return Optional.of(e.getFile() + " cannot be read: " + e.getReason());
        } catch (IOException e) {
            return Optional.of(String.valueOf(e.getMessage()));
        }
    }

    /** For a listener. */
    SSLContext context() {
        try {
            SSLContext context = SSLContext.getInstance("TLS");
            context.init(new KeyManager[] {new Current()}, null, null);
            return context;
        } catch (GeneralSecurityException e) {
            throw new IllegalStateException("every JDK has TLS", e);
        }
    }

    private void watch() {
        try {
            while (true) {
                Thread.sleep(LOOK_INTERVAL);
                look();
            }
        } catch (InterruptedException e) {
            // Closed.
        }
    }

    private void look() {
        try {
            boolean isChanged = !Files.getLastModifiedTime(paths.certificate()).equals(identity.chainTime())
                    || !Files.getLastModifiedTime(paths.key()).equals(identity.keyTime());
            if (isChanged) {
                identity = read();
                LOG.log(
                        System.Logger.Level.INFO,
                        "event=tls_reload expires={0}",
                        identity.chain().getFirst().getNotAfter().toInstant());
            }
        } catch (IOException e) {
            // Looked at again soon, as one file may be written before the other.
            LOG.log(System.Logger.Level.WARNING, "event=tls_reload_failed reason=\"{0}\"", e.getMessage());
        }
    }

    private Identity read() throws IOException {
        FileTime chainTime = Files.getLastModifiedTime(paths.certificate());
        FileTime keyTime = Files.getLastModifiedTime(paths.key());
        List<X509Certificate> chain;
        try (InputStream in = Files.newInputStream(paths.certificate())) {
            chain = CertificateFactory.getInstance("X.509").generateCertificates(in).stream()
                    .map(X509Certificate.class::cast)
                    .toList();
        } catch (GeneralSecurityException e) {
            throw new IOException(paths.certificate() + " holds no certificate", e);
        }
        if (chain.isEmpty()) {
            throw new IOException(paths.certificate() + " holds no certificate");
        }
        PrivateKey key = key(paths.key());
        if (!isPair(chain.getFirst(), key)) {
            throw new IOException(paths.key() + " is not the key of " + paths.certificate());
        }
        return new Identity(chain, key, chainTime, keyTime);
    }

    private static PrivateKey key(Path file) throws IOException {
        Matcher matcher = KEY.matcher(Files.readString(file));
        if (!matcher.find()) {
            throw new IOException(file + " holds no PRIVATE KEY in PEM (PKCS #8)");
        }
        var spec = new PKCS8EncodedKeySpec(Base64.getMimeDecoder().decode(matcher.group(1)));
        for (String algorithm : KEY_ALGORITHMS) {
            try {
                return KeyFactory.getInstance(algorithm).generatePrivate(spec);
            } catch (InvalidKeySpecException e) {
                // Of another algorithm.
            } catch (GeneralSecurityException e) {
                throw new IllegalStateException("every JDK has " + algorithm, e);
            }
        }
        throw new IOException(file + " holds no key of RSA, EC or Ed25519");
    }

    /** The files of two moments do not belong together. */
    private static boolean isPair(X509Certificate certificate, PrivateKey key) {
        try {
            String algorithm = switch (key.getAlgorithm()) {
                case "RSA" -> "SHA256withRSA";
                case "EC" -> "SHA256withECDSA";
                default -> "Ed25519";
            };
            byte[] any = {1, 2, 3};
            var signing = Signature.getInstance(algorithm);
            signing.initSign(key);
            signing.update(any);
            var verifying = Signature.getInstance(algorithm);
            verifying.initVerify(certificate);
            verifying.update(any);
            return verifying.verify(signing.sign());
        } catch (GeneralSecurityException e) {
            return false;
        }
    }

    @Override
    public void close() {
        thread.interrupt();
    }

    /** Shows what the files hold now. */
    private final class Current extends X509ExtendedKeyManager {
        private @Nullable String alias(String keyType) {
            String algorithm = identity.key().getAlgorithm();
            boolean fits = keyType.equals(algorithm) || (keyType.equals("EdDSA") && algorithm.startsWith("Ed"));
            return fits ? ALIAS : null;
        }

        @Override
        public @Nullable String chooseEngineServerAlias(
                String keyType, Principal @Nullable [] issuers, @Nullable SSLEngine engine) {
            return alias(keyType);
        }

        @Override
        public @Nullable String chooseServerAlias(
                String keyType, Principal @Nullable [] issuers, @Nullable Socket socket) {
            return alias(keyType);
        }

        @Override
        public String[] getServerAliases(String keyType, Principal @Nullable [] issuers) {
            return alias(keyType) == null ? new String[0] : new String[] {ALIAS};
        }

        @Override
        public String[] getClientAliases(String keyType, Principal @Nullable [] issuers) {
            return new String[0];
        }

        @Override
        public @Nullable String chooseClientAlias(
                String[] keyTypes, Principal @Nullable [] issuers, @Nullable Socket socket) {
            return null;
        }

        @Override
        public X509Certificate[] getCertificateChain(String alias) {
            return identity.chain().toArray(X509Certificate[]::new);
        }

        @Override
        public PrivateKey getPrivateKey(String alias) {
            return identity.key();
        }
    }
}
