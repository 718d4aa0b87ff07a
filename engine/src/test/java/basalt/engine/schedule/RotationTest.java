package basalt.engine.schedule;

import static org.junit.jupiter.api.Assertions.assertEquals;

import org.junit.jupiter.api.Test;

class RotationTest {
    @Test
    void removalKeepsTheTurnOfTheOthers() {
        var rotation = new Rotation<Integer>(8);
        for (int i = 0; i < 6; i++) {
            rotation.add(i);
        }
        rotation.turn(3);

        rotation.removeIf(n -> n == 1 || n == 3);

        assertEquals(4, rotation.count());
        assertEquals(4, rotation.get(0));
        assertEquals(5, rotation.get(1));
        assertEquals(0, rotation.get(2));
        assertEquals(2, rotation.get(3));
    }

    @Test
    void turnsBeginAnewWhenTheLastIsRemoved() {
        var rotation = new Rotation<Integer>(8);
        rotation.add(1);
        rotation.add(2);
        rotation.turn(1);

        rotation.removeIf(n -> n == 2);

        assertEquals(1, rotation.get(0));
    }
}
