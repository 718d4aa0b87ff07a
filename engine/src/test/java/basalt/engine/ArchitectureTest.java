package basalt.engine;

import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.classes;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;

import com.tngtech.archunit.base.DescribedPredicate;
import com.tngtech.archunit.core.domain.JavaClass;
import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import java.nio.file.Path;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** The borders between packages that DESIGN's modules promise. */
class ArchitectureTest {
    private static final JavaClasses ENGINE = new ClassFileImporter().importPath(Path.of("target/classes"));

    @Test
    void modelKnowsTheJdkAndTheExceptionsOnly() {
        classes()
                .that()
                .resideInAPackage("basalt.engine.model..")
                .should()
                .onlyDependOnClassesThat(knownTo("basalt.engine.model", "basalt.engine.json"))
                .check(ENGINE);
    }

    @Test
    void textKnowsTheJdkJtokkitAndTheModelOnly() {
        classes()
                .that()
                .resideInAPackage("basalt.engine.text..")
                .should()
                .onlyDependOnClassesThat(knownTo(
                        "basalt.engine.text", "basalt.engine.model", "basalt.engine.json", "com.knuddels.jtokkit"))
                .check(ENGINE);
    }

    @Test
    void jsonKnowsTheJdkJacksonAndTheExceptionsOnly() {
        classes()
                .that()
                .resideInAPackage("basalt.engine.json..")
                .should()
                .onlyDependOnClassesThat(knownTo("basalt.engine.json", "com.fasterxml.jackson.core"))
                .check(ENGINE);
    }

    @Test
    void backendsDoNotKnowEachOther() {
        for (String one : new String[] {"cpu", "cuda", "fake"}) {
            noClasses()
                    .that()
                    .resideInAPackage("basalt.engine.backend." + one + "..")
                    .should()
                    .dependOnClassesThat()
                    .resideInAnyPackage(others(one))
                    .allowEmptyShould(true)
                    .check(ENGINE);
        }
    }

    private static String[] others(String one) {
        return Stream.of("cpu", "cuda", "fake")
                .filter(other -> !other.equals(one))
                .map(other -> "basalt.engine.backend." + other + "..")
                .toArray(String[]::new);
    }

    @Test
    void onlyTheCudaBackendSeesJcuda() {
        noClasses()
                .that()
                .resideOutsideOfPackage("basalt.engine.backend.cuda..")
                .should()
                .dependOnClassesThat()
                .resideInAnyPackage("jcuda..")
                .check(ENGINE);
    }

    @Test
    void engineKnowsNoHttp() {
        noClasses()
                .should()
                .dependOnClassesThat()
                .resideInAnyPackage("java.net.http..", "com.sun.net..", "io.helidon..", "basalt.server..")
                .check(ENGINE);
    }

    @Test
    void statesAndBackendsKnowNeitherTextNorSchedule() {
        noClasses()
                .that()
                .resideInAnyPackage("basalt.engine.backend..", "basalt.engine.state..", "basalt.engine.model..")
                .should()
                .dependOnClassesThat()
                .resideInAnyPackage("basalt.engine.text..", "basalt.engine.schedule..", "com.knuddels..")
                .check(ENGINE);
    }

    /** Classes of these packages, of the JDK, and the exceptions and checks of the engine. */
    private static DescribedPredicate<JavaClass> knownTo(String... packages) {
        return DescribedPredicate.describe("are of the JDK or " + String.join(", ", packages), javaClass -> {
            String name = javaClass.getBaseComponentType().getName();
            return javaClass.getBaseComponentType().isPrimitive()
                    || name.startsWith("java.")
                    || name.startsWith("org.jspecify.")
                    || name.startsWith("basalt.engine.EngineException")
                    || name.equals("basalt.engine.Checks")
                    || Stream.of(packages).anyMatch(known -> name.startsWith(known + "."));
        });
    }
}
