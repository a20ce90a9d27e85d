package Nucleus::Docs;

# The commands and configurations of the documentation.
#
#     for my $block (Nucleus::Docs::blocks('docs/operations.md')) {
#         $block->{text}, $block->{line}, $block->{lang},    # "" for an indented one
#         $block->{run}                                      # of <!-- run: NAME --> before it
#     }
#     my @commands = Nucleus::Docs::commands($block);        # one command a line, comments taken off

use strict;
use warnings;

use Nucleus::Test;

my $root = $Nucleus::Test::ROOT;

# All documents, relative to the root of the sources.
sub files {
    my @files = map { glob "$root/$_*.md" }
        '', qw(docs/ conf-examples/ docker/ packaging/ t/ t/*/ tools/ ngx_nucleus_module/ ngx_nucleus_module/*/);

    return map { s{^\Q$root\E/}{}r } @files;
}

# The blocks of a document: fenced ones, and those that are indented by four after an empty line.
sub blocks {
    my ($file) = @_;

    my ($blocks, $current, $run, $before) = ([], undef, undef, '');
    my $number = 0;

    for my $line (split /^/, Nucleus::Test->read_file("$root/$file")) {
        $number++;

        if ($current && $current->{fenced}) {
            if ($line =~ /^```\s*$/) {
                $current = undef;
            } else {
                $current->{text} .= $line;
            }

        } elsif ($current && $line =~ /^(?:    (.*)|\s*)$/s) {
            $current->{text} .= $1 // "\n";

        } elsif ($line =~ /^```(\w*)/) {
            $current = add($blocks, $run, $number, $1, 1);
            $run = undef;

        } elsif ($line =~ /^<!-- run: (\w+) -->$/) {
            ($run, $current) = ($1, undef);

        } elsif ($before =~ /^\s*$/ && $line =~ /^    (.*)$/s) {
            my $text = $1;
            $current = add($blocks, $run, $number, '', 0);
            $current->{text} = $text;
            $run = undef;

        } elsif ($line =~ /\S/) {
            $current = undef;
            die "$file:$number: no commands after <!-- run: $run -->\n" if defined $run;
        }

        $before = $line;
    }

    return @$blocks;
}

sub add {
    my ($blocks, $run, $line, $lang, $fenced) = @_;

    push @$blocks, { text => '', run => $run, line => $line, lang => $lang, fenced => $fenced };

    return $blocks->[-1];
}

# The commands of a block, with continued lines joined and comments taken off.
sub commands {
    my ($block) = @_;

    my $text = $block->{text};
    $text =~ s/\\\n\s*/ /g;
    $text =~ s/\|\n\s*/| /g;

    return grep { length } map { s/\s+#\s.*$//r =~ s/^\s*#.*$//r =~ s/\s+$//r } split /\n/, $text;
}

# The block with a mark, in whatever document; there must be one.
sub marked {
    my ($file, $name) = @_;

    my @found = grep { ($_->{run} // '') eq $name } blocks($file);
    die "$file has " . @found . " blocks marked $name\n" if @found != 1;

    return $found[0];
}

1;
