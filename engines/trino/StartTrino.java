import io.trino.server.Server;

/** Starts the server of the class path under the version its jar states. */
public final class StartTrino {
    public static void main(String[] arguments) {
        new Server().start(Server.class.getPackage().getImplementationVersion());
    }
}
