package basalt.server;

import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.classes;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;

import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import com.tngtech.archunit.core.importer.ImportOption;
import org.junit.jupiter.api.Test;

class ArchitectureTest {
    private static final JavaClasses CLASSES = new ClassFileImporter()
            .withImportOption(new ImportOption.DoNotIncludeTests())
            .importPackages("basalt.server");

    @Test
    void onlyHttpSeesHelidon() {
        noClasses()
                .that()
                .resideOutsideOfPackage("basalt.server.http")
                .should()
                .dependOnClassesThat()
                .resideInAPackage("io.helidon..")
                .check(CLASSES);
    }

    @Test
    void onlyObserveSeesMicrometerAndOpenTelemetry() {
        noClasses()
                .that()
                .resideOutsideOfPackage("basalt.server.observe")
                .should()
                .dependOnClassesThat()
                .resideInAnyPackage("io.micrometer..", "io.opentelemetry..")
                .check(CLASSES);
    }

    @Test
    void onlyRedisSeesJedis() {
        noClasses()
                .that()
                .resideOutsideOfPackage("basalt.server.redis")
                .should()
                .dependOnClassesThat()
                .resideInAnyPackage("redis.clients..", "org.apache.commons.pool2..")
                .check(CLASSES);
    }

    @Test
    void onlyChatSeesJinjava() {
        noClasses()
                .that()
                .resideOutsideOfPackage("basalt.server.chat")
                .should()
                .dependOnClassesThat()
                .resideInAnyPackage("com.hubspot..", "jinjava..", "org.apache.commons.lang3..")
                .check(CLASSES);
    }

    @Test
    void apiKnowsTheEngineChatsAndJacksonAlone() {
        classes()
                .that()
                .resideInAPackage("basalt.server.api")
                .should()
                .onlyDependOnClassesThat()
                .resideInAnyPackage(
                        "basalt.server.api",
                        "basalt.server.chat",
                        "basalt.engine..",
                        "com.fasterxml.jackson.core..",
                        "java..",
                        "org.jspecify..")
                .check(CLASSES);
    }

    @Test
    void nothingUsesTheProgram() {
        noClasses()
                .that()
                .resideInAnyPackage(
                        "basalt.server.http", "basalt.server.api", "basalt.server.chat", "basalt.server.observe")
                .should()
                .dependOnClassesThat()
                .resideInAPackage("basalt.server")
                .check(CLASSES);
    }

    @Test
    void onlyBackendsKnowsWhichThereAre() {
        noClasses()
                .that()
                .doNotHaveFullyQualifiedName("basalt.server.Backends")
                .should()
                .dependOnClassesThat()
                .resideInAnyPackage(
                        "basalt.engine.backend.cpu..", "basalt.engine.backend.cuda..", "basalt.engine.backend.fake..")
                .check(CLASSES);
    }
}
