import java.lang.classfile.ClassFile;
import java.lang.classfile.ClassTransform;
import java.lang.classfile.attribute.ModuleResolutionAttribute;
import java.util.EnumSet;
import java.util.Set;
import java.util.spi.ToolProvider;
import jdk.tools.jlink.internal.PluginRepository;
import jdk.tools.jlink.plugin.Plugin;
import jdk.tools.jlink.plugin.ResourcePool;
import jdk.tools.jlink.plugin.ResourcePoolBuilder;

/**
 * jlink, whose runtime has the Vector API as a module like any other. JDK 25 keeps no module graph in a start-up cache
 * where an incubating module is resolved (jdk.internal.module.ModuleBootstrap), and without it neither linked classes nor
 * profiles: such a cache saves a fraction of the time. Takes jlink's arguments; assemble.sh has the options it needs.
 */
final class Link implements Plugin {
    private static final String MODULE = "/jdk.incubator.vector/module-info.class";

    public static void main(String[] args) {
        PluginRepository.registerPlugin(new Link());
        System.exit(ToolProvider.findFirst("jlink").orElseThrow().run(System.out, System.err, args));
    }

    @Override
    public String getName() {
        return "vector-module";
    }

    /** Before the classes that hold what is known of all modules are made. */
    @Override
    public Category getType() {
        return Category.FILTER;
    }

    @Override
    public Set<State> getState() {
        return EnumSet.of(State.AUTO_ENABLED, State.FUNCTIONAL);
    }

    /** Drops the mark "incubating", which the module's descriptor carries in an attribute. */
    @Override
    public ResourcePool transform(ResourcePool in, ResourcePoolBuilder out) {
        ClassFile file = ClassFile.of();
        in.transformAndCopy(
                entry -> entry.path().equals(MODULE)
                        ? entry.copyWithContent(file.transformClass(
                                file.parse(entry.contentBytes()),
                                ClassTransform.dropping(element -> element instanceof ModuleResolutionAttribute)))
                        : entry,
                out);
        return out.build();
    }
}
