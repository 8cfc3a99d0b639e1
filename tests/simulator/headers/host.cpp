// Every function on the host: "name rounds result" a line to stdout, all values to a file.
#include "functions.h"
#include <stdio.h>
#include <vector>

int main(int count, char** arguments) {
    FILE* file = count == 2 ? fopen(arguments[1], "wb") : nullptr;
    if (!file) return 2;
#define HOST(name, rounds, result, expression)                                                       \
    {                                                                                                \
        printf("%s %d %s\n", #name, (int)rounds, #result);                                           \
        std::vector<u32> out;                                                                        \
        for (int round = 0; round < rounds; round++)                                                 \
            for (u32 a = 0; a < 65536; a++) out.push_back(value_##name(a, second(rounds, round, a))); \
        if (fwrite(out.data(), 4, out.size(), file) != out.size()) return 3;                         \
    }
    FUNCTIONS(HOST)
    return fclose(file) != 0;
}
